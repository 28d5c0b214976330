package accesslog

import (
	"strconv"
	"strings"
	"time"
)

// parseTime reads what a time operator printed. Without a parameter that is
// RFC 3339 in UTC; with one it is strftime's form with Envoy's %f and %1f to %9f
// for fractions and %s for seconds since the epoch. What cannot be read
// is the zero time.
func parseTime(op Operator, v string) time.Time {
	if op.Arg == "" {
		if len(op.Name) > 6 && op.Name[len(op.Name)-6:] == "_LOCAL" {
			return time.Time{} // local time without its zone
		}
		if isTime(v) {
			return parseDefault(v)
		}
		return parseEpoch(v)
	}
	t, zoned, ok := strptime(op.Arg, v)
	if !ok || strings.HasSuffix(op.Name, "_LOCAL") && !zoned {
		return time.Time{}
	}
	return t
}

// parseDefault reads what isTime accepts.
func parseDefault(v string) time.Time {
	two := func(i int) int { return int(v[i]-'0')*10 + int(v[i+1]-'0') }
	year, month, day := two(0)*100+two(2), two(5), two(8)
	hour, minute, sec := two(11), two(14), two(17)
	if month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || sec > 60 {
		return time.Time{}
	}
	rest, nanos := v[19:], 0
	if rest != "" && rest[0] == '.' {
		var n int
		nanos, n = fraction(rest[1:])
		rest = rest[1+n:]
	}
	t := time.Date(year, time.Month(month), day, hour, minute, sec, nanos, time.UTC)
	if rest == "" || rest == "Z" {
		return t
	}
	offset, ok := zone(rest)
	if !ok {
		return time.Time{}
	}
	return t.Add(-offset)
}

// parseEpoch reads seconds or milliseconds since the epoch, told apart by
// their size, as JSON pipelines write them.
func parseEpoch(v string) time.Time {
	whole, frac, _ := strings.Cut(v, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n <= 0 {
		return time.Time{}
	}
	nanos, _ := fraction(frac)
	switch {
	case len(whole) <= 10:
		return time.Unix(n, int64(nanos)).UTC()
	case len(whole) == 13:
		return time.UnixMilli(n).UTC()
	default:
		return time.Time{}
	}
}

// fraction reads digits as a fraction of a second in nanoseconds, and how many
// there are.
func fraction(s string) (nanos, n int) {
	unit := 100_000_000
	for n < len(s) && digit(s[n]) {
		nanos += int(s[n]-'0') * unit
		unit /= 10
		n++
	}
	return nanos, n
}

// zone reads +hh:mm, +hhmm or Z.
func zone(s string) (time.Duration, bool) {
	if s == "Z" || s == "UTC" || s == "GMT" {
		return 0, true
	}
	d := strings.ReplaceAll(s, ":", "")
	if len(d) != 5 || d[0] != '+' && d[0] != '-' {
		return 0, false
	}
	n, err := strconv.Atoi(d[1:])
	if err != nil {
		return 0, false
	}
	off := time.Duration(n/100)*time.Hour + time.Duration(n%100)*time.Minute
	if d[0] == '-' {
		off = -off
	}
	return off, true
}

// strptime reads v as a strftime form writes it.
func strptime(form, v string) (t time.Time, zoned, ok bool) {
	year, month, day, hour, minute, sec, nanos, yday := 1970, 1, 1, 0, 0, 0, 0, 0
	pm, twelve := false, false
	epoch, hasEpoch := int64(0), false
	var offset time.Duration
	number := func(dst *int, width int) bool {
		n := 0
		for n < width && n < len(v) && digit(v[n]) {
			n++
		}
		x, err := strconv.Atoi(v[:n])
		if err != nil {
			return false
		}
		*dst, v = x, v[n:]
		return true
	}
	name := func(dst *int, names func(int) string, count, short int) bool {
		for i := 1; i <= count; i++ {
			w := names(i)
			if short > 0 {
				w = w[:short]
			}
			if len(v) >= len(w) && strings.EqualFold(v[:len(w)], w) {
				*dst, v = i, v[len(w):]
				return true
			}
		}
		return false
	}
	monthName := func(i int) string { return time.Month(i).String() }
	dayName := func(i int) string { return time.Weekday(i - 1).String() }
	// Shorthands of strftime that stand for others.
	form = strings.NewReplacer("%F", "%Y-%m-%d", "%T", "%H:%M:%S", "%R", "%H:%M", "%D", "%m/%d/%y", "%h", "%b", "%E", "%", "%O", "%").Replace(form)
	for i := 0; i < len(form); i++ {
		c := form[i]
		if c != '%' || i+1 == len(form) {
			if v == "" || v[0] != c {
				return t, false, false
			}
			v = v[1:]
			continue
		}
		i++
		if digit(form[i]) && i+1 < len(form) && form[i+1] == 'f' {
			i++
		}
		good, ignored := true, 0
		switch form[i] {
		case 'Y':
			good = number(&year, 4)
		case 'y':
			if good = number(&year, 2); good {
				year += 2000
			}
		case 'm':
			good = number(&month, 2)
		case 'd', 'e':
			v = strings.TrimPrefix(v, " ")
			good = number(&day, 2)
		case 'j':
			good = number(&yday, 3)
		case 'H', 'k':
			v = strings.TrimPrefix(v, " ")
			good = number(&hour, 2)
		case 'I', 'l':
			v = strings.TrimPrefix(v, " ")
			good, twelve = number(&hour, 2), true
		case 'M':
			good = number(&minute, 2)
		case 'S':
			good = number(&sec, 2)
		case 'f':
			var n int
			nanos, n = fraction(v)
			good, v = n > 0, v[n:]
		case 's':
			n := 0
			for n < len(v) && digit(v[n]) {
				n++
			}
			x, err := strconv.ParseInt(v[:n], 10, 64)
			good, epoch, hasEpoch, v = err == nil, x, true, v[n:]
		case 'p', 'P':
			good = len(v) >= 2 && (v[1]|0x20) == 'm' && ((v[0]|0x20) == 'a' || (v[0]|0x20) == 'p')
			if good {
				pm, v = (v[0]|0x20) == 'p', v[2:]
			}
		case 'b':
			good = name(&month, monthName, 12, 3)
		case 'B':
			good = name(&month, monthName, 12, 0)
		case 'a':
			good = name(&ignored, dayName, 7, 3)
		case 'A':
			good = name(&ignored, dayName, 7, 0)
		case 'z', 'Z':
			n := 0
			for n < len(v) && v[n] != ' ' && v[n] != ']' && v[n] != ',' {
				n++
			}
			offset, good = zone(v[:n])
			zoned, v = true, v[n:]
		case '%':
			good = strings.HasPrefix(v, "%")
			v = strings.TrimPrefix(v, "%")
		default:
			return t, false, false
		}
		if !good {
			return t, false, false
		}
	}
	if v != "" {
		return t, false, false
	}
	if hasEpoch {
		if epoch > 1<<40 {
			return t, false, false
		}
		return time.Unix(epoch, int64(nanos)).UTC(), true, true
	}
	if twelve {
		hour %= 12
		if pm {
			hour += 12
		}
	}
	if month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || sec > 60 || yday > 366 {
		return t, false, false
	}
	if yday > 0 {
		month, day = 1, yday
	}
	return time.Date(year, time.Month(month), day, hour, minute, sec, nanos, time.UTC).Add(-offset), zoned, true
}
