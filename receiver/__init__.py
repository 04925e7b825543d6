"""The receiving end of a call: link -> decode -> show, record, report."""
