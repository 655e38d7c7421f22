/** What captions say of a picture whose hue or background was changed. Captions that cannot say it truly are left out. */

const colourWords =
  /\b(red|orange|yellow|green|blue|purple|pink|brown|black|white|gr[ae]y|gold(en)?|silver|bronze|violet|teal|cyan|magenta|beige|pale|dark|light|bright|rainbow|colou?r\w*)\b/gi
/** People have no colour that one would name so. */
const people =
  /\b(persons?|people|humans?|m[ae]n|wom[ae]n|boys?|girls?|child(ren)?|bab(y|ies)|lady|ladies|hands?|fingers?|fist|skin|hair|faces?|smiley|worker|officer|doctor|nurse|teacher|student|artist|singer|dancer|pilot|farmer|astronaut|prince(ss)?|king|queen)\b/i

/** With the article that goes before a word: "a" and "orange car" → "an orange car". */
const withArticle = (article: string, rest: string): string =>
  /^an?$/i.test(article) ? `${/^[aeiou]/i.test(rest) ? 'an' : 'a'} ${rest}` : `${article} ${rest}`

function recoloured(caption: string, from: string, to: string): string | null {
  const words = caption.match(colourWords) ?? []
  if (words.length > 1 || (words.length === 1 && words[0].toLowerCase() !== from)) return null
  if (words.length === 1) {
    // The word must be an adjective, "an orange car" and not "an orange": another word follows it.
    const found = new RegExp(`^(.*?)(?:\\b(an?|the|one) )?\\b${from} (?=[a-z])(.*)$`, 'i').exec(caption)
    if (!found) return null
    const [, before, article, rest] = found
    return before + (article ? withArticle(article, `${to} ${rest}`) : `${to} ${rest}`)
  }
  // The thing comes behind the first article, or behind that of "a sticker of a …".
  const found = / of (an?|the|one) /i.test(caption)
    ? /^(.*? of )(an?|the|one) (.+)$/i.exec(caption)
    : /^()(an?|the|one) (.+)$/i.exec(caption)
  if (!found) return null
  const [, before, article, rest] = found
  // "a mug of beer": which of both has the colour?
  if (!before && / of /.test(rest)) return null
  return before + withArticle(article, `${to} ${rest}`)
}

/**
 * The captions that are true once a thing mostly of colour `from` has colour `to`: with the word changed, or added; none where
 * one of them speaks of people.
 */
export function recolouredCaptions(captions: readonly string[], from: string, to: string): string[] {
  if (captions.some((caption) => people.test(caption))) return []
  return captions.map((caption) => recoloured(caption, from, to)).filter((caption) => caption !== null)
}

/** The captions with the background said: at the end, or before a short last part such as a style. */
export function captionsOnBackground(captions: readonly string[], name: string): string[] {
  const phrase = `on a${/^[aeiou]/.test(name) ? 'n' : ''} ${name} background`
  return captions
    .filter((caption) => !/\bbackground\b/i.test(caption))
    .map((caption) => {
      const comma = caption.lastIndexOf(', ')
      if (comma > 0 && caption.slice(comma + 2).split(' ').length <= 3)
        return `${caption.slice(0, comma)} ${phrase}${caption.slice(comma)}`
      return `${caption.replace(/[.\s]+$/, '')} ${phrase}`
    })
}
