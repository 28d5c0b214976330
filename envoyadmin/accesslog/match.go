package accesslog

import "strings"

// maxWork bounds the search for a reading of one line, in values tried plus
// kilobytes looked at.
const maxWork = 1 << 16

// matcher finds the reading of a line in a format. Its memory is reused from
// line to line.
type matcher struct {
	begin, end []int
	// The furthest operator that could not be read, for the reason why a line
	// is none, and where its value would begin.
	far, farAt int
	tooMuch    bool
}

// match reads s in a text format. Values are tried from short to long,
// operator by operator:
//
//	lit0 value0 lit1 value1 ... litN          values[i] = s[begin[i]:end[i]]
//	     └ ends where lit1 stands next, if it has its shape; else at the lit1 after
//
// and the last literal must end the line; with tail, blanks and more fields
// may follow it. The result is valid until the next call.
func (m *matcher) match(f *Format, s string, t tier, tail bool) bool {
	n := len(f.ops)
	if cap(m.begin) < n {
		m.begin, m.end = make([]int, n), make([]int, n)
	}
	m.begin, m.end = m.begin[:n], m.end[:n]
	if !strings.HasPrefix(s, f.lits[0]) {
		m.note(0, 0)
		return false
	}
	work := 0
	i := 0
	m.begin[0] = len(f.lits[0])
	from := m.begin[0] // where the end of value i is looked for
	for {
		end, ok := m.next(f, s, i, from, t, tail, &work)
		if work > maxWork {
			m.tooMuch = true
			return false
		}
		if !ok {
			if i == 0 {
				return false
			}
			i--
			from = m.end[i] + 1
			continue
		}
		m.end[i] = end
		if i == n-1 {
			return true
		}
		i++
		m.begin[i] = end + len(f.lits[i])
		from = m.begin[i]
	}
}

// next finds where value i may end, at from or behind it.
func (m *matcher) next(f *Format, s string, i, from int, t tier, tail bool, work *int) (int, bool) {
	begin, lit, last := m.begin[i], f.lits[i+1], i == len(f.ops)-1
	for from <= len(s) {
		var end int
		switch {
		case last && lit == "" && !tail:
			end = len(s)
		case last && lit == "":
			end = blankAt(s, from)
		case lit == "":
			end = from
		default:
			k := strings.Index(s[from:], lit)
			*work += k >> 10
			if k < 0 {
				m.note(i, begin)
				*work += (len(s) - from) >> 10
				return 0, false
			}
			end = from + k
		}
		*work++
		if *work > maxWork {
			return 0, false
		}
		value := s[begin:end]
		if limit := f.ops[i].Limit; limit > 0 && len(value) > limit {
			m.note(i, begin)
			return 0, false
		}
		ok, longer := f.shapes[i].fits(value, t, f.unset)
		*work += len(value) >> 10
		if ok && (!last || ended(s[end+len(lit):], tail)) {
			return end, true
		}
		m.note(i, begin)
		if !longer {
			return 0, false
		}
		from = end + 1
	}
	return 0, false
}

// ended says whether what follows the last literal ends the line.
func ended(rest string, tail bool) bool {
	return rest == "" || tail && (rest[0] == ' ' || rest[0] == '\t')
}

func blankAt(s string, from int) int {
	if k := strings.IndexAny(s[from:], " \t"); k >= 0 {
		return from + k
	}
	return len(s)
}

func (m *matcher) note(op, at int) {
	if op > m.far || op == 0 && m.far == 0 {
		m.far, m.farAt = op, at
	}
}

func (m *matcher) reset() { m.far, m.farAt, m.tooMuch = 0, 0, false }
