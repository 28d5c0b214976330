package lab

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// adminPort is where Istio's proxies have their admin API.
const adminPort = 15000

// Fault is a way in which an admin API fails.
type Fault int32

// The faults. Half ends every answer in the middle; Hang never begins one.
const (
	NoFault Fault = iota
	Half
	Hang
)

// admin stands in for the admin API of one Envoy: it answers with the files of
// the world.
type admin struct {
	files map[string][]byte
	port  int // on 127.0.0.1
	fault atomic.Int32
	asked atomic.Int64
}

func (a *admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.asked.Add(1)
	if Fault(a.fault.Load()) == Hang {
		<-r.Context().Done()
		return
	}
	file := map[string]string{
		"/config_dump": "config_dump.json", "/clusters": "clusters.json", "/listeners": "listeners.json",
		"/certs": "certs.json", "/server_info": "server_info.json", "/stats": "stats.txt",
	}[r.URL.Path]
	q := r.URL.Query()
	if r.URL.Path == "/config_dump" && !q.Has("include_eds") || (r.URL.Path == "/clusters" || r.URL.Path == "/listeners") && q.Get("format") != "json" {
		http.Error(w, "the lab has only the answer with include_eds or format=json", http.StatusNotImplemented)
		return
	}
	data, ok := a.files[file]
	if !ok {
		http.Error(w, "invalid path. admin commands are:\n", http.StatusNotFound)
		return
	}
	if strings.HasSuffix(file, ".json") {
		w.Header().Set("Content-Type", "application/json")
	}
	if Fault(a.fault.Load()) == Half {
		w.Write(data[:len(data)/2])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler) // cuts the connection
	}
	w.Write(data)
}

// serveAdmins starts an admin API for every proxy of the world, on 127.0.0.1 for
// kwok's port-forward and in the Pod for what is run there.
func (l *Lab) serveAdmins() error {
	for _, p := range l.pods {
		a := &admin{files: map[string][]byte{}}
		prefix := "proxies/" + p.key() + "/"
		for name, data := range l.world {
			if file, ok := strings.CutPrefix(name, prefix); ok {
				a.files[file] = data
			}
		}
		if len(a.files) == 0 {
			continue
		}
		server := &http.Server{Handler: a, ReadHeaderTimeout: 10 * time.Second, ErrorLog: nil}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		a.port = ln.Addr().(*net.TCPAddr).Port
		l.admins[p.key()] = a
		l.closers = append(l.closers, server)
		go server.Serve(ln)
		if p.ns != "" && !p.host {
			in, err := l.listenIn(p.ns, fmt.Sprintf("127.0.0.1:%d", adminPort))
			if err != nil {
				return err
			}
			go server.Serve(in)
		}
	}
	return nil
}

// SetFault makes the admin API of a proxy (namespace/name) fail.
func (l *Lab) SetFault(pod string, f Fault) error {
	a := l.admins[pod]
	if a == nil {
		return fmt.Errorf("the world has no proxy %s", pod)
	}
	a.fault.Store(int32(f))
	return nil
}

func (p *pod) isDNS() bool {
	return p.namespace == "kube-system" && strings.HasPrefix(p.name, "coredns-")
}

// serveDNS answers, over UDP and TCP, with the world's dns.json and with the
// names of its Services.
func (l *Lab) serveDNS() error {
	zone, err := l.zone()
	if err != nil {
		return err
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		m.RecursionAvailable = true
		name, known := "", false
		if len(q.Question) == 1 {
			name = strings.ToLower(q.Question[0].Name)
			for range 8 {
				rrs, ok := zone[name]
				known = known || ok
				next := ""
				for _, rr := range rrs {
					if c, ok := rr.(*dns.CNAME); ok {
						m.Answer = append(m.Answer, rr)
						next = strings.ToLower(c.Target)
					} else if rr.Header().Rrtype == q.Question[0].Qtype {
						m.Answer = append(m.Answer, rr)
					}
				}
				if next == "" {
					break
				}
				name = next
			}
		}
		if !known {
			m.Rcode = dns.RcodeNameError
		}
		w.WriteMsg(m)
	})
	for range 20 { // a port that is free for both protocols
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		pc, err := net.ListenPacket("udp", ln.Addr().String())
		if err != nil {
			ln.Close()
			continue
		}
		l.dnsPort = ln.Addr().(*net.TCPAddr).Port
		tcp, udp := &dns.Server{Listener: ln, Handler: handler}, &dns.Server{PacketConn: pc, Handler: handler}
		go tcp.ActivateAndServe()
		go udp.ActivateAndServe()
		l.closers = append(l.closers, closerFunc(tcp.Shutdown), closerFunc(udp.Shutdown))
		return nil
	}
	return fmt.Errorf("no port free for DNS")
}

type closerFunc func() error

func (f closerFunc) Close() error { return f() }

var _ io.Closer = closerFunc(nil)
