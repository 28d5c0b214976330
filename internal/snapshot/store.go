package snapshot

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/hoptrail/hoptrail/trace"
)

// Bounds of what is read. A config_dump of a large mesh has 200 MB, and a bug
// report of 200 proxies 100 MB compressed.
type limits struct {
	entries int
	file    int64 // bytes of one file
	total   int64 // bytes of all files of an archive
	ratio   int64 // of all files to what they were compressed to ...
	free    int64 // ... which counts from this size on
	memory  int64 // an unpacked archive larger than this goes to a temporary file
}

var defaultLimits = limits{
	entries: 100_000,
	file:    1 << 30,
	total:   6 << 30,
	ratio:   300,
	free:    128 << 20,
	memory:  64 << 20,
}

// store is a set of files, read when they are asked for and kept from then on,
// so that one file is one slice however often it is read.
type store struct {
	name  string // as the user gave it
	files map[string]*member
	close func() error
}

type member struct {
	size int64
	mod  time.Time
	read func() ([]byte, error)

	once sync.Once
	data []byte
	err  error
}

// read returns a file, or what name.gz beside it holds.
func (s *store) read(name string) ([]byte, *member, error) {
	if m := s.files[name]; m != nil {
		m.once.Do(func() { m.data, m.err = m.read() })
		return m.data, m, m.err
	}
	m := s.files[name+".gz"]
	if m == nil {
		return nil, nil, fs.ErrNotExist
	}
	m.once.Do(func() {
		if m.data, m.err = m.read(); m.err == nil {
			m.data, m.err = s.gunzip(name+".gz", m.data)
		}
	})
	return m.data, m, m.err
}

func (s *store) gunzip(name string, packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, s.input("%s: %v", name, err)
	}
	data, err := io.ReadAll(io.LimitReader(z, defaultLimits.file+1))
	if err != nil {
		return nil, s.input("%s: %v", name, err)
	}
	if int64(len(data)) > defaultLimits.file {
		return nil, s.input("%s is larger than %s, unpacked", name, size(defaultLimits.file))
	}
	return data, nil
}

func (s *store) input(format string, args ...any) error {
	return &trace.InputError{File: s.name, Msg: fmt.Sprintf(format, args...)}
}

// openStore opens a folder or an archive.
func openStore(name string, lim limits) (*store, error) {
	fi, err := os.Stat(name)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, &trace.InputError{File: name, Msg: err.Error()}
	}
	if fi.IsDir() {
		return openFolder(name, lim)
	}
	if !fi.Mode().IsRegular() {
		return nil, &trace.InputError{File: name, Msg: "neither a folder nor a file"}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, &trace.InputError{File: name, Msg: err.Error()}
	}
	defer f.Close()
	return readArchive(name, f, lim)
}

func openFolder(name string, lim limits) (*store, error) {
	s := &store{name: name, files: map[string]*member{}}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, &trace.InputError{File: name, Msg: err.Error()}
	}
	s.close = root.Close
	if !looksRight(root) {
		root.Close()
		return nil, s.input("%s", notOne)
	}
	err = fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return s.input("%s: %v", p, err)
		case d.IsDir():
			return nil
		case !d.Type().IsRegular():
			return s.input("%q is a link or a device; only files and folders are read", p)
		case len(s.files) >= lim.entries:
			return s.input("more than %d files", lim.entries)
		}
		m := &member{}
		if fi, err := d.Info(); err == nil {
			m.size = fi.Size()
		}
		m.read = func() ([]byte, error) {
			f, err := root.Open(p)
			if err != nil {
				return nil, s.input("%s: %v", p, err)
			}
			defer f.Close()
			data, err := io.ReadAll(io.LimitReader(f, lim.file+1))
			if err != nil {
				return nil, s.input("%s: %v", p, err)
			}
			if int64(len(data)) > lim.file {
				return nil, s.input("%s is larger than %s", p, size(lim.file))
			}
			return data, nil
		}
		s.files[p] = m
		return nil
	})
	if err != nil {
		root.Close()
		return nil, err
	}
	return s, nil
}

// looksRight keeps from reading through a large folder that was named by
// mistake.
func looksRight(root *os.Root) bool {
	for _, p := range []string{metaFile, "cluster", "proxies", "bug-report"} {
		if _, err := root.Lstat(p); err == nil {
			return true
		}
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil || len(entries) != 1 || !entries[0].IsDir() {
		return false
	}
	_, err = root.Lstat(entries[0].Name() + "/" + metaFile)
	return err == nil
}

// readArchive reads a tar, compressed with gzip or not, in one pass. What it
// unpacks to is kept in memory, or in a temporary file where it is large.
func readArchive(name string, r io.Reader, lim limits) (s *store, err error) {
	s = &store{name: name, files: map[string]*member{}}
	sp := &spool{limit: lim.memory}
	s.close = sp.close
	defer func() {
		if err != nil {
			sp.close()
			s = nil
		}
	}()
	packed := &counter{r: r}
	br := bufio.NewReaderSize(packed, 1<<16)
	var in io.Reader = br
	compressed := false
	if head, _ := br.Peek(2); bytes.Equal(head, []byte{0x1f, 0x8b}) {
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, s.input("broken gzip: %v", err)
		}
		in, compressed = zr, true
	} else if head, _ := br.Peek(262); len(head) < 262 || string(head[257:262]) != "ustar" {
		return nil, s.input("neither a folder nor a .tar.gz")
	}
	entries := 0
	folders := map[string]bool{}
	for tr := tar.NewReader(in); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, s.broken(err)
		}
		if entries++; entries > lim.entries {
			return nil, s.input("more than %d entries", lim.entries)
		}
		p, err := s.cleanName(h.Name)
		if err != nil {
			return nil, err
		}
		switch h.Typeflag {
		case tar.TypeReg:
		case tar.TypeDir:
			if s.files[p] != nil {
				return nil, s.input("entry %q is there twice", h.Name)
			}
			folders[p] = true
			continue
		case tar.TypeXGlobalHeader:
			continue
		case tar.TypeSymlink, tar.TypeLink:
			return nil, s.input("entry %q is a link to %q; only files and folders are read", h.Name, h.Linkname)
		default:
			return nil, s.input("entry %q is neither a file nor a folder (type %q)", h.Name, h.Typeflag)
		}
		if s.files[p] != nil || folders[p] || p == "." {
			return nil, s.input("entry %q is there twice", h.Name)
		}
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			if s.files[dir] != nil {
				return nil, s.input("entry %q lies in %q, which is a file", h.Name, dir)
			}
			if folders[dir] {
				break
			}
			folders[dir] = true
		}
		if h.Size > lim.file {
			return nil, s.input("entry %q is larger than %s", h.Name, size(lim.file))
		}
		if sp.n+h.Size > lim.total {
			return nil, s.input("unpacks to more than %s", size(lim.total))
		}
		start := sp.n
		for left := h.Size; left > 0; {
			n, err := io.CopyN(sp, tr, min(left, 1<<20))
			if err != nil {
				if sp.err != nil {
					return nil, fmt.Errorf("snapshot: %s: %w", name, sp.err)
				}
				return nil, s.broken(err)
			}
			left -= n
			if compressed && sp.n > lim.free && sp.n > lim.ratio*packed.n {
				return nil, s.input("unpacks to more than %d times its size; no snapshot does", lim.ratio)
			}
		}
		n := h.Size
		s.files[p] = &member{size: n, mod: h.ModTime, read: func() ([]byte, error) { return sp.slice(start, n) }}
	}
	if compressed {
		// What is behind the end of the tar must still be unpacked: a file cut off
		// there is not whole. It is bounded like the rest.
		n, err := io.Copy(io.Discard, io.LimitReader(in, 1<<20+1))
		if err != nil {
			return nil, s.broken(err)
		}
		if n > 1<<20 {
			return nil, s.input("holds more behind its end")
		}
	}
	if entries == 0 {
		return nil, s.input("an empty archive")
	}
	return s, nil
}

func (s *store) broken(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return s.input("cut off in the middle")
	}
	return s.input("broken archive: %v", err)
}

// cleanName refuses names that lead out of the folder the archive would be
// unpacked to.
func (s *store) cleanName(name string) (string, error) {
	switch {
	case name == "" || len(name) > 4096 || strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\ufffd' }):
		return "", s.input("entry %q has no proper name", name)
	case strings.HasPrefix(name, "/") || strings.Contains(name, `\`) || len(name) > 1 && name[1] == ':':
		return "", s.input("entry %q has an absolute name, or a backslash in it", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", s.input("entry %q leads out of the folder", name)
		}
	}
	return path.Clean(name), nil
}

func size(n int64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%d GiB", n>>30)
	}
	if n >= 1<<20 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// spool keeps what is written to it for reading at any place.
type spool struct {
	limit int64
	mem   []byte
	file  *os.File
	n     int64
	err   error
}

func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && s.n+int64(len(p)) > s.limit {
		if s.file, s.err = os.CreateTemp("", "hoptrail-*"); s.err != nil {
			return 0, s.err
		}
		// Nothing is left behind, however the program ends. Where an open file
		// cannot be removed, close does it.
		_ = os.Remove(s.file.Name())
		if _, s.err = s.file.Write(s.mem); s.err != nil {
			return 0, s.err
		}
		s.mem = nil
	}
	if s.file == nil {
		s.mem = append(s.mem, p...)
		s.n += int64(len(p))
		return len(p), nil
	}
	n, err := s.file.Write(p)
	s.n += int64(n)
	s.err = err
	return n, err
}

func (s *spool) slice(off, n int64) ([]byte, error) {
	if s.file == nil {
		return s.mem[off : off+n : off+n], nil
	}
	b := make([]byte, n)
	if _, err := s.file.ReadAt(b, off); err != nil {
		return nil, fmt.Errorf("snapshot: reading back: %w", err)
	}
	return b, nil
}

func (s *spool) close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	_ = os.Remove(s.file.Name()) // already gone, where an open file can be removed
	return err
}
