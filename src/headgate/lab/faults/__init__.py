"""The fault run: real nodes, stores and people, and everything that can die among them.

A stage holds the processes, blows strike them at moments drawn from a seed, the people write down what they
are told, and an independent judge compares that with the ledger's tables.
"""
