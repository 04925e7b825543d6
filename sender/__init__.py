"""The sending side of a call: capture, face crop, encode, link."""
