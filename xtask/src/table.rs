//! Tables for people: columns as wide as their longest cell, two spaces between them.

/// A line for each row, the first of them the head.
pub fn lines<Row: AsRef<[Cell]>, Cell: AsRef<str>>(rows: &[Row]) -> Vec<String> {
    let columns = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.as_ref().get(column));
        cells.map(|cell| cell.as_ref().chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Row| {
        let cells = row.as_ref().iter().zip(&widths).map(|(cell, &width)| format!("{:width$}", cell.as_ref()));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let rows = [["step", "what it does"], ["alloydb", "ä"], ["", "x"]];
        assert_eq!(super::lines(&rows), ["step     what it does", "alloydb  ä", "         x"]);
    }
}
