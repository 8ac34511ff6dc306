"""Model folders: writing, opening, describing and sharing them."""
