/** Names, values and sizes as the commands print them. */

/** Lines of a name and its value, in two columns. */
export const table = (rows: readonly (readonly [string, string])[]): string => {
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n')
}

/** Rows in columns, the first to the left and the others to the right. */
export const columns = (rows: readonly (readonly string[])[]): string => {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)))
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

export const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`
export const millions = (count: number): string => (count >= 1e5 ? `${(count / 1e6).toFixed(1)} M` : String(count))
