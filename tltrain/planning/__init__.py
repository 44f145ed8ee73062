"""What a run will do, before it does it: settings that fit the data, and estimates of work, time and memory."""
