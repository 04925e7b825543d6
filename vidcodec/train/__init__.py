"""Training: from videos and pictures to weights."""
