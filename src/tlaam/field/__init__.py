"""From memory card to spreadsheet: tables, sidecars, sorted folders and a page of answers. Works without PyTorch."""
