// Package contract writes the JSON Schema of what the program prints from the Go
// types that are printed and their comments, and finds what a change takes away.
//
// It knows Go types, their source and JSON Schema. It must not know what the
// types mean; only tests use it.
package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Object is a JSON object whose keys keep their order.
type Object []Entry

// Entry is one member of an Object.
type Entry struct {
	Key   string
	Value any
}

// MarshalJSON implements [json.Marshaler].
func (o Object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, e := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		k, err := json.Marshal(e.Key)
		if err != nil {
			return nil, err
		}
		v, err := json.Marshal(e.Value)
		if err != nil {
			return nil, err
		}
		b.Write(k)
		b.WriteByte(':')
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// Schema says what to write a schema of.
type Schema struct {
	Root    reflect.Type
	Sources []string // the Go files that declare the types, as paths

	ID, Title, Description string

	// Types are the schemas of types that marshal themselves.
	Types map[reflect.Type]Object
	// Fields adds to the schema of a field: "Outcome.error".
	Fields map[string]Object
	// Hidden allows fields that JSON leaves out.
	Hidden bool
	// Described demands a comment of every field.
	Described bool
}

// JSON is the schema, indented. A field without a name in JSON, a named string
// type without constants and a type that JSON has no counterpart of are errors.
func (s *Schema) JSON() ([]byte, error) {
	g := &generator{Schema: s, defs: map[string]Object{}, source: source{types: map[string]string{}, fields: map[string]map[string]string{}, enums: map[string][]string{}}}
	for _, name := range s.Sources {
		if err := g.read(name); err != nil {
			return nil, err
		}
	}
	root, err := g.define(s.Root)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(g.defs))
	for n := range g.defs {
		names = append(names, n)
	}
	slices.Sort(names)
	var all Object
	for _, n := range names {
		all = append(all, Entry{n, g.defs[n]})
	}
	out, err := json.MarshalIndent(Object{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"$id", s.ID},
		{"title", s.Title},
		{"description", s.Description},
		{"$ref", root[0].Value},
		{"$defs", all},
	}, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(out, '\n'), nil
}

type generator struct {
	*Schema
	source
	defs map[string]Object
}

// source is what the Go source says besides its types.
type source struct {
	types  map[string]string            // type to its doc comment
	fields map[string]map[string]string // type to field to its comment
	enums  map[string][]string          // type to its constants
}

func (s *source) read(name string) error {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range gen.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				s.types[spec.Name.Name] = comment(gen.Doc)
				st, ok := spec.Type.(*ast.StructType)
				if !ok {
					continue
				}
				fields := map[string]string{}
				for _, f := range st.Fields.List {
					for _, n := range f.Names {
						fields[n.Name] = comment(f.Comment)
						if doc := comment(f.Doc); strings.HasPrefix(doc, n.Name+" ") { // not what stands above a group
							fields[n.Name] = doc
						}
					}
				}
				s.fields[spec.Name.Name] = fields
			case *ast.ValueSpec:
				id, ok := spec.Type.(*ast.Ident)
				if !ok {
					continue
				}
				for _, v := range spec.Values {
					if lit, ok := v.(*ast.BasicLit); ok {
						if value, err := strconv.Unquote(lit.Value); err == nil {
							s.enums[id.Name] = append(s.enums[id.Name], value)
						}
					}
				}
			}
		}
	}
	return nil
}

func comment(g *ast.CommentGroup) string {
	if g == nil {
		return ""
	}
	text := strings.NewReplacer("[", "", "]", "").Replace(g.Text())
	return strings.Join(strings.Fields(text), " ")
}

// define returns the schema of a type, adding those of named types to defs.
func (g *generator) define(typ reflect.Type) (Object, error) {
	if typ == reflect.TypeFor[json.RawMessage]() {
		return Object{}, nil
	}
	ref := Object{{"$ref", "#/$defs/" + typ.Name()}}
	if own, ok := g.Types[typ]; ok {
		return own, nil
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return g.define(typ.Elem())
	case reflect.Bool:
		return Object{{"type", "boolean"}}, nil
	case reflect.Int, reflect.Int64:
		return Object{{"type", "integer"}}, nil
	case reflect.Uint16, reflect.Uint32:
		return Object{{"type", "integer"}, {"minimum", 0}}, nil
	case reflect.Float64:
		return Object{{"type", "number"}, {"minimum", 0}}, nil
	case reflect.Slice:
		items, err := g.define(typ.Elem())
		return Object{{"type", "array"}, {"items", items}}, err
	case reflect.Map:
		values, err := g.define(typ.Elem())
		return Object{{"type", "object"}, {"additionalProperties", values}}, err
	case reflect.String:
		if typ.Name() == "string" {
			return Object{{"type", "string"}}, nil
		}
		if len(g.enums[typ.Name()]) == 0 {
			return nil, fmt.Errorf("%s has no constants", typ)
		}
		g.defs[typ.Name()] = Object{{"description", g.types[typ.Name()]}, {"type", "string"}, {"enum", g.enums[typ.Name()]}}
		return ref, nil
	case reflect.Struct:
		if _, ok := g.defs[typ.Name()]; ok {
			return ref, nil
		}
		return ref, g.object(typ)
	default:
		return nil, fmt.Errorf("%s has no counterpart in JSON", typ)
	}
}

// object defines a struct.
func (g *generator) object(typ reflect.Type) error {
	g.defs[typ.Name()] = nil // a type may hold itself
	var props Object
	required := []string{}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case !f.IsExported() || name == "-" && g.Hidden:
			continue
		case name == "" || name == "-":
			return fmt.Errorf("%s.%s has no name in JSON", typ, f.Name)
		}
		if !strings.Contains(opts, "omitempty") {
			required = append(required, name)
		}
		p, err := g.define(f.Type)
		if err != nil {
			return err
		}
		p = append(slices.Clone(p), g.Fields[typ.Name()+"."+name]...)
		if name == "probability" {
			p = append(p, Entry{"maximum", 1.000001}) // a sum of rounded parts
		}
		c := g.fields[typ.Name()][f.Name]
		switch {
		case c != "":
			p = append(Object{{"description", c}}, p...)
		case g.Described:
			return fmt.Errorf("%s.%s has no comment", typ, f.Name)
		}
		props = append(props, Entry{name, p})
	}
	g.defs[typ.Name()] = Object{{"description", g.types[typ.Name()]}, {"type", "object"}, {"properties", props}, {"required", required}}
	return nil
}

// Breaking lists what was promised by the schema before and is not by the one
// after: a property that is gone or has another type, one that is no longer
// always there, an enumerated value that is gone.
func Breaking(before, after []byte) ([]string, error) {
	var b, a map[string]any
	if err := json.Unmarshal(before, &b); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(after, &a); err != nil {
		return nil, err
	}
	var out []string
	var compare func(path string, b, a any)
	compare = func(path string, b, a any) {
		switch b := b.(type) {
		case map[string]any:
			am, ok := a.(map[string]any)
			if !ok {
				out = append(out, path+" is gone")
				return
			}
			for k, v := range b {
				if k != "description" && k != "title" && k != "$id" {
					compare(path+"/"+k, v, am[k])
				}
			}
		case []any: // enum, required: a set that may only grow
			as, _ := a.([]any)
			for _, v := range b {
				if !slices.ContainsFunc(as, func(x any) bool { return reflect.DeepEqual(x, v) }) {
					out = append(out, fmt.Sprintf("%s lost %v", path, v))
				}
			}
		default:
			if !reflect.DeepEqual(a, b) {
				out = append(out, fmt.Sprintf("%s was %v, is %v", path, b, a))
			}
		}
	}
	compare("", b, a)
	slices.Sort(out)
	return out, nil
}
