/** Names, values and sizes as the commands print them. */

/** Lines of a name and its value, in two columns. */
export const table = (rows: readonly (readonly [string, string])[]): string => {
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n')
}

export const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`
export const millions = (count: number): string => (count >= 1e5 ? `${(count / 1e6).toFixed(1)} M` : String(count))
