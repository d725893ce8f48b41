"""What agents reach outside of this code: model providers and stores, one file or folder for each."""
