package jsonscan

// Field returns the index of the value of the named field of the object at
// b[i], or -1 if it has none. It looks no further than the field.
func Field(b []byte, i int, names ...string) (int, error) {
	found := -1
	_, err := Object(b, i, func(key []byte, at int) (int, error) {
		for _, name := range names {
			if string(key) == name {
				found = at
				return at, errFound
			}
		}
		return 0, nil
	})
	if err == errFound {
		err = nil
	}
	return found, err
}

var errFound = &Error{Msg: "found"}

// Path returns the index of the value reached by following fields from the
// object at b[i], or -1. A field is found in its snake_case and camelCase form.
func Path(b []byte, i int, fields ...string) int {
	for _, f := range fields {
		if i < 0 || i >= len(b) || b[i] != '{' {
			return -1
		}
		at, err := Field(b, i, f, camel(f))
		if err != nil {
			return -1
		}
		i = at
	}
	return i
}

// Text returns the string at b[i], or "" if there is none.
func Text(b []byte, i int) string {
	if i < 0 || i >= len(b) || b[i] != '"' {
		return ""
	}
	end, err := String(b, i)
	if err != nil {
		return ""
	}
	s, err := Unquote(b[i:end], i)
	if err != nil {
		return ""
	}
	return s
}

// camel is the JSON form of a proto field name.
func camel(s string) string {
	for i := range len(s) {
		if s[i] != '_' {
			continue
		}
		out := make([]byte, 0, len(s))
		up := false
		for j := range len(s) {
			switch c := s[j]; {
			case c == '_':
				up = true
			case up && c >= 'a' && c <= 'z':
				out = append(out, c-'a'+'A')
				up = false
			default:
				out = append(out, c)
				up = false
			}
		}
		return string(out)
	}
	return s
}
