"""Runs the implementations in processes of their own and judges what they leave; imports no framework."""
