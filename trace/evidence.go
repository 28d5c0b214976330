package trace

import (
	"strconv"
	"strings"
)

// maxExcerpt bounds what a report quotes of one observation, in bytes.
const maxExcerpt = 4096

// cite adds a piece of raw data to the hop and returns its id.
func (w *walker) cite(h *Hop, basis Basis, q Query, excerpt, match string) string {
	if len(excerpt) > maxExcerpt {
		excerpt = strings.ToValidUTF8(excerpt[:maxExcerpt], "") + " ..."
	}
	for _, e := range h.Evidence {
		if e.Basis == basis && e.Source == q.Path() && e.Excerpt == excerpt {
			return e.ID
		}
	}
	w.evidence++
	e := Evidence{
		ID: "e" + strconv.Itoa(w.evidence), Basis: basis, Source: q.Path(), Command: q.Command(),
		At: timestamp(w.read.seen[q].obs.At), Excerpt: excerpt, Match: match,
	}
	h.Evidence = append(h.Evidence, e)
	return e.ID
}

// linesWith returns the lines of data that contain any of the texts, at most n.
func linesWith(data []byte, n int, texts ...string) []string {
	var out []string
	for line := range strings.Lines(string(data)) {
		for _, t := range texts {
			if t != "" && strings.Contains(line, t) {
				out = append(out, strings.TrimRight(line, "\r\n"))
				break
			}
		}
		if len(out) >= n {
			break
		}
	}
	return out
}

// check records one question asked at a hop.
func (h *Hop) check(name string, s State, value string) {
	h.Checks = append(h.Checks, Check{Name: name, State: s, Value: value})
}

// settle makes the hop's state at least as bad as s and gives the reason when it
// is the first one that bad.
func (h *Hop) settle(s State, why string) {
	if badness[s] > badness[h.State] || h.State == "" {
		h.State, h.Why = s, why
	}
}
