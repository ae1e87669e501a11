"""When does it happen? Waits until dispatches are recorded, and tells what is committed as it comes."""
