"""What starts runs by itself: the nightly schedule and the commit sensor."""
