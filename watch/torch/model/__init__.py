"""The modules of a torch script, their calls, and the tensors in what they take and return."""
