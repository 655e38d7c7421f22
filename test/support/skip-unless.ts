/**
 * The `skip` of a test that needs more than the project brings: false, or all that lacks.
 * @param needs whether it is there, and what it is with the way to get it
 */
export function skipUnless(needs: readonly (readonly [there: boolean, what: string])[]): string | false {
  const lacking = needs.filter(([there]) => !there).map(([, what]) => what)
  return lacking.length > 0 && lacking.join('; ')
}
