// Package findings holds the pages that explain the finding codes, one
// HTnnnn.md for each, as `hoptrail explain HTnnnn` prints them.
//
// It knows the pages and nothing of what finds a fault; package trace has the
// rules.
package findings

import (
	"embed"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

//go:embed HT*.md
var pages embed.FS

var codeForm = regexp.MustCompile(`^HT[0-9]{4}$`)

// Page returns the page of a code in Markdown. The code's case does not matter.
func Page(code string) (string, bool) {
	code = strings.ToUpper(strings.TrimSpace(code))
	if !codeForm.MatchString(code) {
		return "", false
	}
	b, err := pages.ReadFile(code + ".md")
	return string(b), err == nil
}

// Title returns the title of a code's page, without the code.
func Title(code string) (string, bool) {
	page, ok := Page(code)
	if !ok {
		return "", false
	}
	line, _, _ := strings.Cut(page, "\n")
	_, title, ok := strings.Cut(line, ": ")
	return title, ok
}

// Codes returns the codes that have a page, sorted.
func Codes() []string {
	names, err := fs.Glob(pages, "HT*.md")
	if err != nil {
		return nil // the pattern is constant
	}
	for i, name := range names {
		names[i] = strings.TrimSuffix(name, ".md")
	}
	slices.Sort(names)
	return names
}
