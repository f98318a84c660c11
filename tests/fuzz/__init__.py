"""Fuzzing of every command and of every reader of files.

An input is a list of words, as a shell would pass them to ``theory``; a word that begins with ``@`` is a recipe for a
file (``files.py``), so that one line of text holds all that is needed to repeat an input.

``python -m tests.fuzz --inputs 100000`` runs many, and prints a table with one line for each command and reader.
"""
