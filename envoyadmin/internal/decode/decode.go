// Package decode turns the JSON of Envoy's admin API into protos, leniently and
// without losing what it does not understand.
//
// It differs from protojson in four ways. A field, enum value or value type that
// the linked protos do not know is kept aside, see [Unknown], instead of failing
// the whole object or vanishing. An Any of an unknown type becomes an
// xds.type.v3.TypedStruct that holds its JSON, and a TypedStruct of a known type
// is unpacked to it, as Envoy does. The v2 API and the shapes of old Envoys
// (config, tls_context, hosts, regex) come out as v3. Redacted bytes are kept.
//
// It knows JSON and proto reflection; it must not know what the objects mean.
package decode

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	xdstype "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/jsonscan"
)

// TypePrefix is what stands before the message name in an Any's type URL.
const TypePrefix = "type.googleapis.com/"

// maxDepth bounds how deep messages nest; Envoy's own limit is 100 for protos.
const maxDepth = 200

// unknownField is where the names of unknown fields are kept in a message's
// unknown bytes. Protobuf reserves 19000-19999 for implementations, so no
// message has such a field.
const unknownField = 19000

// JSON decodes the object in raw into m, which is merged into, not reset. The
// error is a *jsonscan.Error if raw is not JSON, or says that raw is nested too
// deeply; anything else that does not fit is found with [Unknown].
func JSON(raw []byte, m proto.Message) error {
	d := decoder{b: raw, upstream: m.ProtoReflect().Descriptor().Name() == "Cluster"}
	end, err := d.message(jsonscan.Space(raw, 0), m.ProtoReflect(), 0, func(key string) bool { return key == "@type" })
	if err != nil {
		return notObject(err, 0)
	}
	if end = jsonscan.Space(raw, end); end != len(raw) {
		return &jsonscan.Error{Offset: end, Msg: "more behind the object"}
	}
	return nil
}

// Unknown returns the fields of this one message, not of those below it, that
// JSON could not place, each as `name: value` with the value cut short. nil
// means that everything was understood.
func Unknown(m proto.Message) []string {
	if m == nil || !m.ProtoReflect().IsValid() {
		return nil
	}
	var out []string
	b := m.ProtoReflect().GetUnknown()
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			break
		}
		b = b[n:]
		if num == unknownField && typ == protowire.BytesType {
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				break
			}
			out = append(out, string(v))
			b = b[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			break
		}
		out = append(out, "field "+strconv.Itoa(int(num)))
		b = b[n:]
	}
	return out
}

// TypeOf returns the full name of the type an Any holds, that of the content
// for a TypedStruct, and whether the linked protos know it.
func TypeOf(a *anypb.Any) (name string, known bool) {
	name = string(a.MessageName())
	switch name {
	case "":
		return "", false
	case "xds.type.v3.TypedStruct":
		var ts xdstype.TypedStruct
		if proto.Unmarshal(a.GetValue(), &ts) != nil {
			return name, false
		}
		return ts.GetTypeUrl()[strings.LastIndexByte(ts.GetTypeUrl(), '/')+1:], false
	}
	return name, true
}

type decoder struct {
	b        []byte
	upstream bool // below a Cluster: a TLS context is an upstream one
}

// errShape says that a value is not of the kind the field wants. It never
// leaves the package: the field becomes an unknown one.
type errShape struct{}

func (errShape) Error() string { return "value does not fit its field" }

func (d *decoder) unknown(m protoreflect.Message, name string, at int) (int, error) {
	end, err := jsonscan.Value(d.b, at)
	if err != nil {
		return end, err
	}
	v := d.b[at:end]
	if len(v) > 200 {
		v = append(append([]byte(nil), v[:200]...), "..."...)
	}
	b := protowire.AppendTag(m.GetUnknown(), unknownField, protowire.BytesType)
	m.SetUnknown(protowire.AppendString(b, name+": "+strings.ToValidUTF8(string(v), "\ufffd")))
	return end, nil
}

func lookup(fields protoreflect.FieldDescriptors, key string) protoreflect.FieldDescriptor {
	if f := fields.ByName(protoreflect.Name(key)); f != nil {
		return f
	}
	return fields.ByJSONName(key)
}

// message reads the object at b[i] into m. A nil skip skips no field.
func (d *decoder) message(i int, m protoreflect.Message, depth int, skip func(key string) bool) (int, error) {
	if depth > maxDepth {
		return i, fmt.Errorf("decode %s: nested deeper than %d", m.Descriptor().FullName(), maxDepth)
	}
	if i < len(d.b) && d.b[i] != '{' {
		return 0, errShape{}
	}
	fields := m.Descriptor().Fields()
	var old []legacy
	end, err := jsonscan.Object(d.b, i, func(k []byte, at int) (int, error) {
		key := string(k)
		if skip != nil && skip(key) {
			return 0, nil
		}
		f := lookup(fields, key)
		if f == nil {
			old = append(old, legacy{strings.TrimPrefix(key, "hidden_envoy_deprecated_"), key, at})
			return 0, nil
		}
		return d.field(m, f, key, at, depth)
	})
	if err != nil {
		return end, err
	}
	for _, l := range old {
		ok, err := d.legacy(m, l, depth)
		if err != nil {
			return i, err
		}
		if !ok {
			if _, err := d.unknown(m, l.key, l.at); err != nil {
				return i, err
			}
		}
	}
	return end, nil
}

// field sets f of m from the value at; what does not fit is kept as unknown.
func (d *decoder) field(m protoreflect.Message, f protoreflect.FieldDescriptor, key string, at, depth int) (int, error) {
	if d.null(at) && !(f.Message() != nil && f.Message().FullName() == "google.protobuf.Value") {
		return 0, nil
	}
	end, err := d.set(m, f, at, depth)
	if _, shape := err.(errShape); shape {
		if f.ContainingOneof() == nil || m.WhichOneof(f.ContainingOneof()) == f {
			m.Clear(f)
		}
		return d.unknown(m, key, at)
	}
	return end, err
}

func (d *decoder) null(at int) bool {
	return at+4 <= len(d.b) && string(d.b[at:at+4]) == "null"
}

func (d *decoder) set(m protoreflect.Message, f protoreflect.FieldDescriptor, at, depth int) (int, error) {
	switch {
	case f.IsMap():
		if at < len(d.b) && d.b[at] != '{' {
			return 0, errShape{}
		}
		mp := m.Mutable(f).Map()
		return jsonscan.Object(d.b, at, func(k []byte, at int) (int, error) {
			key, err := mapKey(f.MapKey(), string(k))
			if err != nil {
				return 0, err
			}
			if f.MapValue().Message() != nil {
				v := mp.NewValue()
				end, err := d.any(v.Message(), at, depth+1)
				if err == nil {
					mp.Set(key, v)
				}
				return end, err
			}
			v, end, err := d.scalar(f.MapValue(), at)
			if err == nil {
				mp.Set(key, v)
			}
			return end, err
		})
	case f.IsList():
		if at < len(d.b) && d.b[at] != '[' {
			return 0, errShape{}
		}
		list := m.Mutable(f).List()
		return jsonscan.Array(d.b, at, func(_, at int) (int, error) {
			if f.Message() != nil {
				v := list.NewElement()
				end, err := d.any(v.Message(), at, depth+1)
				if err == nil {
					list.Append(v)
				}
				return end, err
			}
			v, end, err := d.scalar(f, at)
			if err == nil {
				list.Append(v)
			}
			return end, err
		})
	case f.Message() != nil:
		v := m.NewField(f)
		end, err := d.any(v.Message(), at, depth+1)
		if err == nil {
			m.Set(f, v)
		}
		return end, err
	default:
		v, end, err := d.scalar(f, at)
		if err == nil {
			m.Set(f, v)
		}
		return end, err
	}
}

func mapKey(f protoreflect.FieldDescriptor, key string) (protoreflect.MapKey, error) {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(key).MapKey(), nil
	case protoreflect.BoolKind:
		v, err := strconv.ParseBool(key)
		if err != nil {
			return protoreflect.MapKey{}, errShape{}
		}
		return protoreflect.ValueOfBool(v).MapKey(), nil
	default:
		v, err := integer(f.Kind(), key)
		if err != nil {
			return protoreflect.MapKey{}, err
		}
		return v.MapKey(), nil
	}
}

// any reads a value into a message of any type, well-known ones included.
func (d *decoder) any(m protoreflect.Message, at, depth int) (int, error) {
	if at >= len(d.b) {
		return at, &jsonscan.Error{Offset: len(d.b), Msg: "unexpected end of JSON input"}
	}
	if depth > maxDepth {
		return at, fmt.Errorf("decode %s: nested deeper than %d", m.Descriptor().FullName(), maxDepth)
	}
	md := m.Descriptor()
	if md.ParentFile().Package() != "google.protobuf" {
		return d.message(at, m, depth, nil)
	}
	switch md.Name() {
	case "Any":
		return d.anyAny(m, at, depth)
	case "Duration", "Timestamp":
		s, end, err := d.str(at)
		if err != nil {
			return end, err
		}
		var sec, nano int64
		if md.Name() == "Duration" {
			sec, nano, err = duration(s)
		} else {
			var t time.Time
			if t, err = time.Parse(time.RFC3339Nano, s); err == nil {
				sec, nano = t.Unix(), int64(t.Nanosecond())
			}
		}
		if err != nil {
			return 0, errShape{}
		}
		m.Set(md.Fields().ByName("seconds"), protoreflect.ValueOfInt64(sec))
		m.Set(md.Fields().ByName("nanos"), protoreflect.ValueOfInt32(int32(nano)))
		return end, nil
	case "Struct", "ListValue", "Value":
		v, end, err := d.value(at, depth)
		if err != nil {
			return end, err
		}
		var from proto.Message = v
		switch md.Name() {
		case "Struct":
			if v.GetStructValue() == nil {
				return 0, errShape{}
			}
			from = v.GetStructValue()
		case "ListValue":
			if v.GetListValue() == nil {
				return 0, errShape{}
			}
			from = v.GetListValue()
		}
		proto.Merge(m.Interface(), from)
		return end, nil
	case "DoubleValue", "FloatValue", "Int64Value", "UInt64Value", "Int32Value", "UInt32Value", "BoolValue", "StringValue", "BytesValue":
		f := md.Fields().ByName("value")
		v, end, err := d.scalar(f, at)
		if err == nil {
			m.Set(f, v)
		}
		return end, err
	case "FieldMask":
		s, end, err := d.str(at)
		if err == nil && s != "" {
			l := m.Mutable(md.Fields().ByName("paths")).List()
			for p := range strings.SplitSeq(s, ",") {
				l.Append(protoreflect.ValueOfString(p))
			}
		}
		return end, err
	}
	return d.message(at, m, depth, nil)
}

// anyAny reads an Any: {"@type": ..., fields} or, for well-known types, {"@type": ..., "value": ...}.
func (d *decoder) anyAny(m protoreflect.Message, at, depth int) (int, error) {
	if d.b[at] != '{' {
		return 0, errShape{}
	}
	url := ""
	value, inner := -1, ""
	end, err := jsonscan.Object(d.b, at, func(k []byte, at int) (int, error) {
		switch string(k) {
		case "@type":
			s, end, err := d.str(at)
			url = s
			return end, err
		case "value":
			value = at
		case "type_url", "typeUrl":
			s, end, err := d.str(at)
			inner = s
			return end, err
		}
		return 0, nil
	})
	if err != nil {
		return end, err
	}
	a := m.Interface().(*anypb.Any)
	if url == "" {
		if inner != "" && value >= 0 { // a binary Any, as some dumps have it
			s, _, err := d.str(value)
			if err != nil {
				return end, err
			}
			a.TypeUrl = inner
			a.Value, _ = base64.StdEncoding.DecodeString(s)
			return end, nil
		}
		if end2 := jsonscan.Space(d.b, at+1); end2 < len(d.b) && d.b[end2] == '}' {
			return end, nil
		}
		return 0, errShape{}
	}
	name := V3(url[strings.LastIndexByte(url, '/')+1:])
	switch name {
	case "udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct":
		return end, d.typed(a, V3(inner[strings.LastIndexByte(inner, '/')+1:]), inner, value, depth, nil)
	}
	if mt := find(name); mt != nil && mt.Descriptor().ParentFile().Package() == "google.protobuf" && name != "google.protobuf.Empty" {
		if value < 0 {
			return end, pack(a, mt.New())
		}
		msg := mt.New()
		if _, err := d.any(msg, value, depth+1); err != nil {
			return end, err
		}
		return end, pack(a, msg)
	}
	return end, d.typed(a, name, url, at, depth, func(key string) bool { return key == "@type" })
}

// typed packs the object at b[at] into a as the named type, or as a TypedStruct
// if that is not known. at is -1 for no object.
func (d *decoder) typed(a *anypb.Any, name, url string, at, depth int, skip func(string) bool) error {
	if mt := find(name); mt != nil {
		msg := mt.New()
		if at >= 0 {
			sub := *d
			sub.upstream = d.upstream || name == "envoy.config.cluster.v3.Cluster"
			_, err := sub.message(at, msg, depth+1, skip)
			if _, shape := err.(errShape); err != nil && !shape {
				return err
			}
		}
		return pack(a, msg)
	}
	ts := &xdstype.TypedStruct{TypeUrl: url}
	if at >= 0 {
		v, _, err := d.value(at, depth)
		if err != nil {
			return err
		}
		if ts.Value = v.GetStructValue(); ts.Value != nil && skip != nil {
			for k := range ts.Value.Fields {
				if skip(k) {
					delete(ts.Value.Fields, k)
				}
			}
		}
	}
	return pack(a, ts.ProtoReflect())
}

func find(name string) protoreflect.MessageType {
	mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
	if err != nil {
		return nil
	}
	return mt
}

func pack(a *anypb.Any, m protoreflect.Message) error {
	b, err := proto.MarshalOptions{AllowPartial: true, Deterministic: true}.Marshal(m.Interface())
	if err != nil {
		return errShape{}
	}
	a.TypeUrl, a.Value = TypePrefix+string(m.Descriptor().FullName()), b
	return nil
}

// value reads any JSON value.
func (d *decoder) value(at, depth int) (*structpb.Value, int, error) {
	if at >= len(d.b) {
		return nil, at, &jsonscan.Error{Offset: len(d.b), Msg: "unexpected end of JSON input"}
	}
	if depth > maxDepth {
		return nil, at, fmt.Errorf("decode google.protobuf.Value: nested deeper than %d", maxDepth)
	}
	switch d.b[at] {
	case '{':
		s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
		end, err := jsonscan.Object(d.b, at, func(k []byte, at int) (int, error) {
			v, end, err := d.value(at, depth+1)
			s.Fields[strings.ToValidUTF8(string(k), "\ufffd")] = v
			return end, err
		})
		return structpb.NewStructValue(s), end, err
	case '[':
		l := &structpb.ListValue{}
		end, err := jsonscan.Array(d.b, at, func(_, at int) (int, error) {
			v, end, err := d.value(at, depth+1)
			l.Values = append(l.Values, v)
			return end, err
		})
		return structpb.NewListValue(l), end, err
	case '"':
		s, end, err := d.str(at)
		return structpb.NewStringValue(s), end, err
	}
	end, err := jsonscan.Value(d.b, at)
	if err != nil {
		return nil, end, err
	}
	switch s := string(d.b[at:end]); s {
	case "true", "false":
		return structpb.NewBoolValue(s == "true"), end, nil
	case "null":
		return structpb.NewNullValue(), end, nil
	default:
		n, _ := strconv.ParseFloat(s, 64)
		return structpb.NewNumberValue(n), end, nil
	}
}

func (d *decoder) str(at int) (string, int, error) {
	if at >= len(d.b) || d.b[at] != '"' {
		return "", 0, errShape{}
	}
	end, err := jsonscan.String(d.b, at)
	if err != nil {
		return "", end, err
	}
	s, err := jsonscan.Unquote(d.b[at:end], at)
	return s, end, err
}

func (d *decoder) scalar(f protoreflect.FieldDescriptor, at int) (protoreflect.Value, int, error) {
	var none protoreflect.Value
	if at >= len(d.b) {
		return none, at, &jsonscan.Error{Offset: len(d.b), Msg: "unexpected end of JSON input"}
	}
	var text string
	var end int
	var err error
	quoted := d.b[at] == '"'
	switch {
	case quoted:
		text, end, err = d.str(at)
	case d.b[at] == '{' || d.b[at] == '[':
		return none, 0, errShape{}
	default:
		end, err = jsonscan.Value(d.b, at)
		text = string(d.b[at:min(end, len(d.b))])
	}
	if err != nil {
		return none, end, err
	}
	v, err := scalarOf(f, text, quoted)
	return v, end, err
}

func scalarOf(f protoreflect.FieldDescriptor, s string, quoted bool) (protoreflect.Value, error) {
	var none protoreflect.Value
	switch f.Kind() {
	case protoreflect.StringKind:
		if !quoted {
			return none, errShape{}
		}
		return protoreflect.ValueOfString(s), nil
	case protoreflect.BoolKind:
		if quoted || s != "true" && s != "false" {
			return none, errShape{}
		}
		return protoreflect.ValueOfBool(s == "true"), nil
	case protoreflect.BytesKind:
		if !quoted {
			return none, errShape{}
		}
		raw := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
		b, err := base64.RawStdEncoding.DecodeString(raw)
		if err != nil {
			b = []byte(s) // "[redacted]"
		}
		return protoreflect.ValueOfBytes(b), nil
	case protoreflect.EnumKind:
		if quoted {
			if v := f.Enum().Values().ByName(protoreflect.Name(s)); v != nil {
				return protoreflect.ValueOfEnum(v.Number()), nil
			}
			return none, errShape{}
		}
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil || f.Enum().Values().ByNumber(protoreflect.EnumNumber(n)) == nil {
			return none, errShape{}
		}
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), nil
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		n, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return none, errShape{}
		}
		if f.Kind() == protoreflect.FloatKind {
			return protoreflect.ValueOfFloat32(float32(n)), nil
		}
		return protoreflect.ValueOfFloat64(n), nil
	default:
		return integer(f.Kind(), s)
	}
}

func integer(k protoreflect.Kind, s string) (protoreflect.Value, error) {
	var none protoreflect.Value
	size := 64
	signed := true
	switch k {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		size = 32
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		size, signed = 32, false
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		signed = false
	}
	if strings.ContainsAny(s, ".eE") { // 1e3 and 5.0 are integers in JSON
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || n != math.Trunc(n) || math.Abs(n) > 1<<53 {
			return none, errShape{}
		}
		s = strconv.FormatFloat(n, 'f', 0, 64)
	}
	if signed {
		n, err := strconv.ParseInt(s, 10, size)
		switch {
		case err != nil:
			return none, errShape{}
		case size == 32:
			return protoreflect.ValueOfInt32(int32(n)), nil
		default:
			return protoreflect.ValueOfInt64(n), nil
		}
	}
	n, err := strconv.ParseUint(s, 10, size)
	switch {
	case err != nil:
		return none, errShape{}
	case size == 32:
		return protoreflect.ValueOfUint32(uint32(n)), nil
	default:
		return protoreflect.ValueOfUint64(n), nil
	}
}

// duration reads "1.5s", the JSON form of a Duration.
func duration(s string) (sec, nano int64, err error) {
	t, ok := strings.CutSuffix(s, "s")
	if !ok {
		return 0, 0, errShape{}
	}
	whole, frac, _ := strings.Cut(t, ".")
	neg := strings.HasPrefix(whole, "-")
	if whole == "" || whole == "-" {
		whole += "0"
	}
	if sec, err = strconv.ParseInt(whole, 10, 64); err != nil {
		return 0, 0, errShape{}
	}
	if len(frac) > 9 {
		frac = frac[:9]
	}
	if frac != "" {
		if nano, err = strconv.ParseInt(frac+strings.Repeat("0", 9-len(frac)), 10, 64); err != nil || nano < 0 {
			return 0, 0, errShape{}
		}
	}
	if neg {
		nano = -nano
	}
	return sec, nano, nil
}

// notObject makes the internal error of a misfit an error of the text.
func notObject(err error, at int) error {
	if _, ok := err.(errShape); ok {
		return &jsonscan.Error{Offset: at, Msg: "not an object"}
	}
	return err
}

// Fields is [JSON] without the top-level fields that skip names.
func Fields(raw []byte, m proto.Message, skip func(key string) bool) error {
	d := decoder{b: raw, upstream: m.ProtoReflect().Descriptor().Name() == "Cluster"}
	_, err := d.message(jsonscan.Space(raw, 0), m.ProtoReflect(), 0, skip)
	return notObject(err, 0)
}

// Any decodes the JSON of an Any: an object with @type.
func Any(raw []byte, a *anypb.Any) error {
	d := decoder{b: raw}
	_, err := d.anyAny(a.ProtoReflect(), jsonscan.Space(raw, 0), 0)
	return notObject(err, 0)
}
