"""What evidence sources share: files, the network with its limits and failures, bibliographic records."""
