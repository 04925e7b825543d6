"""Networks: torch modules, tensors in and tensors out. They know no packet, no state object and no file."""
