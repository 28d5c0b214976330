package findings

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// sections are the headings a page may have, in their order; the first three
// and Related it must have.
var sections = []string{"Symptom", "What proves it", "Fix", "Not this", "Example", "Related", "Threads"}

func TestEveryPageHasItsSectionsAndKnowsItsNeighbours(t *testing.T) {
	codes := Codes()
	if len(codes) != 58 {
		t.Errorf("%d pages, want 58", len(codes))
	}
	anyCode := regexp.MustCompile(`\bHT\d{4}\b`)
	thread := regexp.MustCompile(`^(istio/istio|kubernetes/kubernetes)#\d+$`)
	for _, code := range codes {
		page, ok := Page(strings.ToLower(code))
		if !ok {
			t.Fatalf("%s has no page", code)
		}
		title, ok := Title(code)
		if !ok || !strings.HasPrefix(page, "# "+code+": "+title+"\n\n## Symptom\n\n") || title == "" || strings.HasSuffix(title, ".") {
			t.Errorf("%s: title %q", code, title)
		}
		at, has := 0, map[string]string{}
		for part := range strings.SplitSeq(page, "\n## ") {
			heading, body, _ := strings.Cut(part, "\n")
			if strings.HasPrefix(part, "# ") {
				continue
			}
			i := slices.Index(sections, heading)
			if i < at {
				t.Errorf("%s: section %q is unknown or out of order", code, heading)
			}
			at = max(at, i)
			has[heading] = strings.TrimSpace(body)
		}
		for _, must := range []string{"Symptom", "What proves it", "Fix", "Related"} {
			if has[must] == "" {
				t.Errorf("%s has no section %q", code, must)
			}
		}
		if body, ok := has["Threads"]; ok {
			for line := range strings.SplitSeq(body, "\n") {
				if !thread.MatchString(line) {
					t.Errorf("%s: thread %q", code, line)
				}
			}
		}
		for _, other := range anyCode.FindAllString(page, -1) {
			if !slices.Contains(codes, other) {
				t.Errorf("%s names %s, which has no page", code, other)
			}
		}
		if related := anyCode.FindAllString(has["Related"], -1); len(related) == 0 || slices.Contains(related, code) {
			t.Errorf("%s is related to %v", code, related)
		}
		if strings.Count(page, "```")%2 != 0 || !strings.HasSuffix(page, "\n") || strings.Contains(page, " \n") || strings.Contains(page, "\t") {
			t.Errorf("%s: an open fence, a tab or a blank at the end of a line", code)
		}
	}
	for _, none := range []string{"", "HT4099", "HT", "../HT4001", "HT4001.md"} {
		if _, ok := Page(none); ok {
			t.Errorf("%q has a page", none)
		}
	}
}
