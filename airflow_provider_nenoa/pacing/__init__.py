"""When the vendors may be asked, and when it pays to: requests per minute and per day, and how long runs take."""
