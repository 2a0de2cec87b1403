"""What a person names on the command line, and how the declarations behind it are found."""
