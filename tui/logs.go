package tui

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hoptrail/hoptrail/trace"
)

// maxFollowed bounds the lines kept while following; the oldest go first.
const maxFollowed = 100_000

// logRow is one access log line in the merged log.
type logRow struct {
	at       int64 // Unix nanoseconds; 0 where not known
	hop      int   // place in the report's hops, -1 where not known
	proxy    string
	line     *trace.LogLine
	followed bool
	ended    bool        // no line, but the end of the proxy's log
	hopID    string      // of followed lines, in the report of when they came
	hopKey   string      // of followed lines: what that hop is called in every run
	raw      *FollowLine // of followed lines: before masking
}

func newLogRow(l *trace.LogLine, hop int, proxy string) logRow {
	row := logRow{line: l, hop: hop, proxy: proxy}
	at := l.At
	if at == "" {
		at = field(l, "START_TIME", "start_time")
	}
	if t, err := time.Parse(time.RFC3339Nano, at); err == nil {
		row.at = t.UnixNano()
	}
	return row
}

// lineID tells two lines of a proxy apart.
type lineID struct {
	at         int64
	proxy, raw string
}

func (r *logRow) id() lineID { return lineID{r.at, r.proxy, r.line.Raw} }

func compareTime(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// field is the first of the named fields that the line has.
func field(l *trace.LogLine, names ...string) string {
	for _, n := range names {
		if v, ok := l.Fields[n]; ok && v != "" && v != "-" {
			return v
		}
	}
	return ""
}

// insertByTime puts new rows into rows, which is in order of time and stays so.
// Rows that come in order are appended; else the result is a new slice: others
// may still be reading the old one.
func insertByTime(rows, add []logRow) []logRow {
	slices.SortStableFunc(add, func(a, b logRow) int { return compareTime(a.at, b.at) })
	if len(rows) == 0 || len(add) == 0 || add[0].at >= rows[len(rows)-1].at {
		return append(rows, add...)
	}
	return mergeByTime(rows, add)
}

// mergeByTime merges two logs in order of time.
func mergeByTime(a, b []logRow) []logRow {
	if len(b) == 0 {
		return a
	}
	if len(a) == 0 {
		return b
	}
	out := make([]logRow, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if b[0].at < a[0].at {
			out, b = append(out, b[0]), b[1:]
		} else {
			out, a = append(out, a[0]), a[1:]
		}
	}
	return append(append(out, a...), b...)
}

// logList is the log as it is shown: the rows of a scope that pass a filter.
// With neither it is every row, and no list is kept.
type logList struct {
	rows   []logRow // merged, by time
	shown  []int32  // places in rows; nil with all
	all    bool
	hop    int    // -1 for the whole path
	filter string // lower case
}

// build selects the rows of one hop (or of all) that hold filter.
func (l *logList) build(rows []logRow, hop int, filter string) {
	l.rows, l.hop, l.filter = rows, hop, strings.ToLower(filter)
	l.shown = nil
	l.all = hop < 0 && filter == ""
	if l.all {
		return
	}
	l.shown = selectRows(rows, 0, hop, l.filter)
}

// selectRows returns the places of the rows, from one on, of hop and holding
// filter.
func selectRows(rows []logRow, from, hop int, filter string) []int32 {
	out := []int32{}
	for i := from; i < len(rows); i++ {
		if hop >= 0 && rows[i].hop != hop {
			continue
		}
		if filter != "" && !containsFold(rows[i].line.Raw, filter) {
			continue
		}
		out = append(out, int32(i))
	}
	return out
}

func (l *logList) len() int {
	if l.all {
		return len(l.rows)
	}
	return len(l.shown)
}

func (l *logList) at(i int) *logRow {
	if l.all {
		return &l.rows[i]
	}
	return &l.rows[l.shown[i]]
}

// containsFold is a case-insensitive strings.Contains; low is in lower case.
func containsFold(s, low string) bool { return indexFold(s, low) >= 0 }

func indexFold(s, low string) int {
	if low == "" {
		return 0
	}
	for i := range len(low) {
		if low[i] >= 0x80 {
			return indexFoldUnicode(s, low)
		}
	}
	c := low[0]
	up := c
	if c >= 'a' && c <= 'z' {
		up = c - 'a' + 'A'
	}
	for i := 0; i+len(low) <= len(s); {
		j := strings.IndexByte(s[i:], c)
		if up != c {
			if k := strings.IndexByte(s[i:min(len(s), i+max(j, 0)+1)], up); j < 0 {
				j = strings.IndexByte(s[i:], up)
			} else if k >= 0 && k < j {
				j = k
			}
		}
		if j < 0 || i+j+len(low) > len(s) {
			return -1
		}
		i += j
		k := 1
		for k < len(low) {
			b := s[i+k]
			if b >= 'A' && b <= 'Z' {
				b |= 0x20
			}
			if b != low[k] {
				break
			}
			k++
		}
		if k == len(low) {
			return i
		}
		i++
	}
	return -1
}

// indexFoldUnicode is for the rare pattern outside ASCII. Lower case may have
// another length; the offset is then found by characters.
func indexFoldUnicode(s, low string) int {
	for i := range s {
		rest := s[i:]
		n := 0
		for range low {
			_, size := decode(rest[n:])
			if size == 0 {
				break
			}
			n += size
		}
		if strings.ToLower(rest[:n]) == low {
			return i
		}
	}
	return -1
}

func decode(s string) (rune, int) {
	if s == "" {
		return 0, 0
	}
	return utf8.DecodeRuneInString(s)
}

// logColumns are the parts of a line worth a column of their own.
type logColumns struct {
	time, code, flags, method, path, authority, upstream, took string
	tcp                                                        bool
}

func columns(l *trace.LogLine) logColumns {
	c := logColumns{
		code:      field(l, "RESPONSE_CODE", "response_code"),
		flags:     field(l, "RESPONSE_FLAGS", "response_flags"),
		method:    field(l, "REQ(:METHOD)", "method"),
		path:      field(l, "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", "REQ(:PATH)", "path"),
		authority: field(l, "REQ(:AUTHORITY)", "authority", "REQUESTED_SERVER_NAME"),
		upstream:  field(l, "UPSTREAM_HOST", "upstream_host"),
		took:      field(l, "DURATION", "duration"),
	}
	if at := l.At; len(at) >= 23 && at[10] == 'T' {
		c.time = at[11:23]
	} else if len(at) >= 19 && at[10] == 'T' {
		c.time = at[11:19]
	}
	if c.took != "" {
		c.took += "ms"
	}
	if c.method == "" && c.path == "" {
		// The layouts of Envoy and Istio put the request in quotes.
		if _, rest, ok := strings.Cut(l.Raw, `"`); ok {
			if req, _, ok := strings.Cut(rest, `"`); ok {
				if p := strings.Fields(req); len(p) == 3 && strings.HasPrefix(p[2], "HTTP/") {
					c.method, c.path = p[0], p[1]
				}
			}
		}
	}
	c.tcp = c.code == "0" || c.method == ""
	return c
}
