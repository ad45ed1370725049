"""What `indexctl doctor` looks at: a module for each area, which yields findings and changes nothing."""
