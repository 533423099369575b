"""From the memory card to the spreadsheet: tables, sidecars, sorted folders and a page of answers. Without PyTorch."""
