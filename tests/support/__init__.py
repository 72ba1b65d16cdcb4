"""What several packages' tests share. Nothing here is a test."""
