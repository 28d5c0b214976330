package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/hoptrail/hoptrail/testdata"
	"github.com/hoptrail/hoptrail/trace"
)

type source struct {
	trace.Source
	name  string
	live  bool
	close func() error
}

func (s *source) Close() error {
	if s.close == nil {
		return nil
	}
	return s.close()
}
func (s *source) record(path string) error { return errors.New("record: not built in") }
func closing(s *source, err error) error {
	if e := s.Close(); e != nil && err == nil {
		return e
	}
	return err
}

type mem map[string][]byte

func (m mem) Observe(_ context.Context, q trace.Query) (trace.Observation, error) {
	b, ok := m[q.Path()]
	if !ok {
		return trace.Observation{}, &trace.NotReadError{Query: q, Why: "not in the snapshot"}
	}
	return trace.Observation{Data: b}, nil
}

func readTar(b []byte) (mem, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	t := tar.NewReader(z)
	m := mem{}
	for {
		h, err := t.Next()
		if err == io.EOF {
			return m, nil
		}
		if err != nil {
			return nil, err
		}
		d, _ := io.ReadAll(t)
		m[path.Clean(h.Name)] = d
	}
}

func openSource(s *streams, o *traceOptions) (*source, error) {
	if o.snapshot == "" {
		l, err := liveSource(o.cluster, o.timeout, func(l string) { fmt.Fprintln(s.err, "hoptrail: "+l) })
		if err != nil {
			return nil, err
		}
		return &source{Source: l, live: true}, nil
	}
	b, err := os.ReadFile(o.snapshot)
	if err != nil {
		return nil, err
	}
	m, err := readTar(b)
	return &source{Source: m, name: o.snapshot}, err
}

func openDemo(w demoWorld) (*source, error) {
	b, _ := testdata.Worlds.ReadFile(w.archive)
	m, err := readTar(b)
	return &source{Source: m, name: w.name}, err
}

func demoNotes(w demoWorld) (string, error) {
	b, _ := testdata.Worlds.ReadFile(w.archive)
	m, err := readTar(b)
	var d struct{ Notes string }
	json.Unmarshal(m["snapshot.json"], &d)
	return strings.TrimSpace(d.Notes), err
}
