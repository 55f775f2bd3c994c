"""People in images: crowds, single persons, and the published files that hold them."""
