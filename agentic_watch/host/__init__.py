"""What does this host offer? Its file systems, and how to sync one whole."""
