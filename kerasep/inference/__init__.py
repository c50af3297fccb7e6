"""From a file on disk to stems: manifests, runtimes, chunking, separators."""
