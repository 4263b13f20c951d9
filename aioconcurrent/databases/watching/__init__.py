"""What calls do to shared data, watched: hooks through which every operation passes a recorder or a gate."""
