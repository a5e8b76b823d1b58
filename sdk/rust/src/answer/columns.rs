//! Tables of text.

/// Rows of cells with the columns under each other, `gap` spaces apart. The last cell of a row is not padded.
pub fn columns<const N: usize>(rows: &[[&str; N]], gap: usize) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count() + gap);
        }
    }
    let mut out = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < N {
                out.extend(std::iter::repeat_n(' ', widths[column] - cell.chars().count()));
            }
        }
        out.push('\n');
    }
    out
}
