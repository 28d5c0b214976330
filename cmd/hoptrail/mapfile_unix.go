//go:build unix

package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mapFrom is the size from which a file is mapped instead of read: copying a
// large one costs more than evaluating a packet.
const mapFrom = 4 << 20

// mapFile returns the content of a file, which must not be changed. It stays
// mapped until the process ends.
func mapFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a directory, not a file of iptables-save", name)
	}
	if size := info.Size(); info.Mode().IsRegular() && size >= mapFrom && int64(int(size)) == size {
		if data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE); err == nil {
			return data, nil
		}
	}
	return os.ReadFile(name)
}
