package live

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/klog/v2"

	"github.com/hoptrail/hoptrail/trace"
)

// Options say which cluster is read, as whom, and how much may be asked of it.
// The zero value is kubectl's current context with the default limits.
type Options struct {
	// Kubeconfig, Context, Namespace, As and AsGroups are kubectl's flags of
	// these names; empty means what kubectl would take.
	Kubeconfig string
	Context    string
	Namespace  string
	As         string
	AsGroups   []string

	// Resolver is the name server asked for names from outside, IP or IP:port;
	// empty is the one this machine is configured with.
	Resolver string
	// Timeout limits all reads of a trace together, counted from the first one;
	// 0 is no limit of its own.
	Timeout time.Duration
	// ReadTimeout limits one request to the API server; 0 is 10 s. Reading a
	// whole config_dump, a log or a program's output may take three times as long.
	ReadTimeout time.Duration
	// MaxBytes bounds one observation; 0 is 512 MB.
	MaxBytes int64
	// LogSince and LogTail choose the part of an access log that is read; 0 is
	// the last hour and 2000 lines.
	LogSince time.Duration
	LogTail  int
	// NodeDebug allows a Pod to be created on a node whose rules cannot be read
	// otherwise. Close removes it.
	NodeDebug bool
	// NodeDebugImage is the image of that Pod; empty takes one that the node
	// already has and that holds the tools.
	NodeDebugImage string
	// Tell, when set, is told in one line what is created in the cluster and
	// removed from it. It may be called from any goroutine.
	Tell func(line string)
	// LocalNode reads the state of this machine's netfilter, as files of a node,
	// where this machine is the node; and says why others could not be read. nil
	// runs the programs found in PATH instead, as it does for files of which this
	// says nothing.
	LocalNode func(ctx context.Context) (files map[string][]byte, notRead map[string]error, err error)
	// Screen says that the program will have the terminal to itself: a login
	// plugin of the kubeconfig then gets no standard input but in [Source.Login],
	// and what it says on standard error goes to Tell, line by line.
	Screen bool
	// UserAgent is sent with every request; empty is "hoptrail".
	UserAgent string
}

// Source is a running cluster. It is safe for concurrent use. Make one with
// [New]; Close it when the trace is over.
type Source struct {
	opts      Options
	config    *rest.Config
	asks      *rest.Config // the same with a login plugin that may ask on the terminal; nil without a plugin
	base      *url.URL
	client    *http.Client
	limiter   flowcontrol.RateLimiter
	namespace string
	context   string
	user      string

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	requests atomic.Int64
	bytes    atomic.Int64

	mu       sync.Mutex
	reads    context.Context // of what is being read; the next Reset ends it
	stop     context.CancelFunc
	fresh    chan struct{} // closed when the Reset under way is over; nil without one
	deadline time.Time     // of all reads together; zero until the first
	reached  bool          // the API server has answered once
	read     int           // API reads that succeeded
	refused  []*trace.NotReadError
	flights  map[string]*flight
	pods     map[string]*podInfo
	versions map[string]string // resource file -> version it is served in
	groups   *groupList
	forwards map[string]*forward
	nodes    map[string]*nodeReader
	debug    map[string]*debugPod
}

type flight struct {
	done chan struct{}
	obs  trace.Observation
	err  error
}

// New reads the kubeconfig by kubectl's rules and prepares a source. It makes
// no request; the error says what is wrong with the configuration.
func New(opts Options) (*Source, error) {
	quietOnce.Do(quiet)
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = opts.Kubeconfig
	over := &clientcmd.ConfigOverrides{CurrentContext: opts.Context}
	over.Context.Namespace = opts.Namespace
	over.AuthInfo.Impersonate = opts.As
	over.AuthInfo.ImpersonateGroups = opts.AsGroups
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, over)
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	ns, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: namespace: %w", err)
	}
	name := opts.Context
	user := ""
	if raw, err := loader.RawConfig(); err == nil {
		if name == "" {
			name = raw.CurrentContext
		}
		if c := raw.Contexts[name]; c != nil {
			user = c.AuthInfo
		}
	}
	if opts.As != "" {
		user = opts.As
	}
	asks := config
	if config.ExecProvider != nil && opts.Screen {
		config = offTerminal(config)
	}
	s, err := newSource(opts, config)
	if err != nil {
		return nil, err
	}
	s.namespace, s.context, s.user = ns, name, user
	if asks.ExecProvider != nil {
		s.asks = asks
	}
	return s, nil
}

// Contexts are the names of the contexts of the kubeconfig, in order.
func Contexts(kubeconfig string) ([]string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := rules.Load()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return slices.Sorted(maps.Keys(config.Contexts)), nil
}

func newSource(opts Options, config *rest.Config) (*Source, error) {
	if opts.ReadTimeout == 0 {
		opts.ReadTimeout = 10 * time.Second
	}
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 512 << 20
	}
	if opts.LogSince == 0 {
		opts.LogSince = time.Hour
	}
	if opts.LogTail == 0 {
		opts.LogTail = 2000
	}
	if opts.UserAgent == "" {
		opts.UserAgent = "hoptrail"
	}
	config = rest.CopyConfig(config)
	config.UserAgent = opts.UserAgent
	config.Timeout = 0
	config.WarningHandler = rest.NoWarnings{}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: server: %w", err)
	}
	var client *http.Client
	overheard(config, opts, func() { client, err = rest.HTTPClientFor(config) })
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	client.Transport = prompt{client.Transport}
	s := &Source{
		opts: opts, config: config, base: base, client: client, namespace: "default",
		// 50 a second and bursts of 100, as istioctl: a person waits for it.
		limiter: flowcontrol.NewTokenBucketRateLimiter(50, 100),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.clear()
	return s, nil
}

var quietOnce sync.Once

// quiet keeps client-go's own messages off the terminal: whatever matters comes
// back as an error.
func quiet() {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	var flags flag.FlagSet
	klog.InitFlags(&flags)
	// Errors go to stderr, whatever the output is, up to a threshold that only a
	// flag sets. The name and the value are klog's own: it cannot fail.
	_ = flags.Set("stderrthreshold", "FATAL")
}

func (s *Source) clear() {
	s.reads, s.stop = context.WithCancel(s.ctx)
	s.deadline = time.Time{}
	s.read, s.refused = 0, nil
	s.flights = map[string]*flight{}
	s.pods = map[string]*podInfo{}
	s.forwards = map[string]*forward{}
	s.nodes = map[string]*nodeReader{}
	s.groups = nil
	if s.versions == nil {
		s.versions = map[string]string{}
	}
	if s.debug == nil {
		s.debug = map[string]*debugPod{}
	}
	s.requests.Store(0)
	s.bytes.Store(0)
}

// Reset forgets what was read, so that the next trace reads anew over the same
// connections. It ends what a trace that was given up left under way, which
// would count as the next one's, and waits for that; and removes what was
// created. It must not be called while a trace is running. Where ctx ends first,
// as when a login plugin hangs, which client-go runs without one, nothing may be
// read before another Reset.
func (s *Source) Reset(ctx context.Context) error {
	s.mu.Lock()
	s.stop()
	forwards := s.forwards
	s.forwards = map[string]*forward{}
	if s.fresh == nil {
		s.fresh = make(chan struct{})
	}
	s.mu.Unlock()
	for _, f := range forwards {
		f.close()
	}
	for {
		s.mu.Lock()
		running := s.underWay()
		if running == nil {
			s.clear()
			s.mu.Unlock()
			break
		}
		s.mu.Unlock()
		select {
		case <-running.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	// What a debug Pod printed is of its own time: the next trace makes another.
	if err := s.removeDebugPods(); err != nil {
		s.tell("%v", err)
	}
	s.mu.Lock()
	close(s.fresh)
	s.fresh = nil
	s.mu.Unlock()
	return nil
}

// underWay is a read that is not over, nil if all are. s.mu is held.
func (s *Source) underWay() *flight {
	for _, f := range s.flights {
		select {
		case <-f.done:
		default:
			return f
		}
	}
	return nil
}

// errReset ends a read that Reset gave up.
var errReset = errors.New("live: given up for the next trace")

// Close ends whatever is still being read and removes what was created.
func (s *Source) Close() error {
	s.cancel()
	s.mu.Lock()
	forwards := s.forwards
	s.forwards = map[string]*forward{}
	s.mu.Unlock()
	for _, f := range forwards {
		f.close()
	}
	err := s.removeDebugPods()
	s.client.CloseIdleConnections()
	return err
}

// Namespace is the namespace of names that come without one.
func (s *Source) Namespace() string { return s.namespace }

// Context is the name of the kubeconfig context that is read.
func (s *Source) Context() string { return s.context }

// Usage says how many requests were made of the API server since New or the
// last Reset (an exec or a port-forward is one), and how many bytes came back.
func (s *Source) Usage() (requests int, bytes int64) {
	return int(s.requests.Load()), s.bytes.Load()
}

// Refused returns an error if nothing at all could be read from the API and at
// least one read was refused: one clear sentence instead of a report in which
// every hop is unknown. Otherwise it returns nil.
func (s *Source) Refused() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read > 0 || len(s.refused) == 0 {
		return nil
	}
	var rights []string
	seen := map[string]bool{}
	for _, r := range s.refused {
		right := r.Verb + " " + r.Resource
		if r.Namespace != "" {
			right += " in " + r.Namespace
		}
		if !seen[right] {
			seen[right] = true
			rights = append(rights, right)
		}
	}
	who := "this user"
	if s.user != "" {
		who = fmt.Sprintf("user %q", s.user)
	}
	return fmt.Errorf("%s of context %q may read nothing of what was asked for: refused were %s; docs/rbac.yaml has the least that hoptrail needs",
		who, s.context, strings.Join(rights, ", "))
}

// Observe implements [trace.Source].
func (s *Source) Observe(ctx context.Context, q trace.Query) (trace.Observation, error) {
	if err := ctx.Err(); err != nil {
		return s.ended(ctx, q)
	}
	key := q.Path() + "\x00" + selectorKey(q.Select) + "\x00" + q.Name + "\x00" + q.From
	if q.Area == trace.AreaDNS {
		key += "\x00" + q.File
	}
	for {
		f := s.flight(key, q)
		select {
		case <-f.done:
			if errors.Is(f.err, errReset) && s.ctx.Err() == nil {
				// Who asks for something else than a trace, a log to follow, may be
				// asking while the next trace begins.
				s.mu.Lock()
				fresh := s.fresh
				s.mu.Unlock()
				if fresh == nil {
					continue
				}
				select {
				case <-fresh:
					continue
				case <-ctx.Done():
					return s.ended(ctx, q)
				}
			}
			return f.obs, f.err
		case <-ctx.Done():
			return s.ended(ctx, q)
		}
	}
}

// flight is the read that answers q, begun if need be.
func (s *Source) flight(key string, q trace.Query) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deadline.IsZero() && s.opts.Timeout > 0 {
		s.deadline = time.Now().Add(s.opts.Timeout)
	}
	f, running := s.flights[key]
	if !running && q.Area == trace.AreaCluster && q.Select != (trace.Selector{}) {
		// A list already asked for as a whole holds whatever is selected from it.
		whole := q
		whole.Select = trace.Selector{}
		f, running = s.flights[whole.Path()+"\x00"+selectorKey(whole.Select)+"\x00"+q.Name+"\x00"+q.From]
		if running && f.failed() {
			running = false
		}
	}
	if !running {
		f = &flight{done: make(chan struct{})}
		s.flights[key] = f
		go s.fly(s.reads, f, q)
	}
	return f
}

// failed says whether a flight is over and brought nothing.
func (f *flight) failed() bool {
	select {
	case <-f.done:
		return f.err != nil
	default:
		return false
	}
}

func (s *Source) ended(ctx context.Context, q trace.Query) (trace.Observation, error) {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return trace.Observation{}, &trace.NotReadError{Query: q, Why: "the time limit of the trace was over", Command: q.Command()}
	}
	return trace.Observation{}, ctx.Err()
}

// fly makes one read. It does not depend on the caller who asked first: others
// may wait for the same answer.
func (s *Source) fly(reads context.Context, f *flight, q trace.Query) {
	defer close(f.done)
	limit := s.opts.ReadTimeout
	if q.Area != trace.AreaCluster && q.Area != trace.AreaDNS {
		limit *= 3
	}
	total := false
	s.mu.Lock()
	if !s.deadline.IsZero() {
		if left := time.Until(s.deadline); left < limit {
			limit, total = left, true
		}
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(reads, limit)
	defer cancel()
	start := time.Now()
	obs, err := s.observe(ctx, q)
	switch {
	case err == nil:
		obs.At = start.UTC()
		obs.Took = time.Since(start)
		f.obs = obs
	case s.ctx.Err() != nil:
		f.err = context.Canceled
	case reads.Err() != nil:
		f.err = errReset
	default:
		f.err = s.classify(ctx, q, err, limit, total)
	}
}

func (s *Source) observe(ctx context.Context, q trace.Query) (trace.Observation, error) {
	switch q.Area {
	case trace.AreaCluster:
		return s.cluster(ctx, q)
	case trace.AreaNode:
		data, err := s.nodeFile(ctx, q)
		return trace.Observation{Data: data}, err
	case trace.AreaPod:
		data, err := s.podFile(ctx, q)
		return trace.Observation{Data: data}, err
	case trace.AreaProxy:
		return s.proxyFile(ctx, q)
	case trace.AreaDNS:
		data, err := s.resolve(ctx, q)
		return trace.Observation{Data: data}, err
	}
	return trace.Observation{}, fmt.Errorf("live: %s: no such area", q.Path())
}

// classify turns what went wrong into what the walk is told: a NotReadError, or
// an error that ends the trace when the cluster was never reached or knows no
// such user.
func (s *Source) classify(ctx context.Context, q trace.Query, err error, limit time.Duration, total bool) error {
	nr := &trace.NotReadError{Query: q, Command: q.Command()}
	var have *trace.NotReadError
	if errors.As(err, &have) {
		inner := *have // another query's answer: it is shared
		inner.Query = q
		if inner.Command == "" {
			inner.Command = nr.Command
		}
		return &inner
	}
	var api *apiError
	var op *net.OpError
	var netErr net.Error
	switch {
	case errors.As(err, &api) && api.code == http.StatusForbidden:
		nr.Verb, nr.Resource, nr.Namespace = api.verb, api.resource, api.namespace
		nr.Why = "forbidden: " + api.sentence()
		nr.Command = api.grant(s.user)
		s.mu.Lock()
		s.refused = append(s.refused, nr)
		s.mu.Unlock()
	case errors.As(err, &api) && api.code == http.StatusUnauthorized && !s.hasRead():
		return fmt.Errorf("cluster of context %q: the credentials of user %q were not accepted (401 Unauthorized)", s.context, s.user)
	case ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout():
		nr.Why = fmt.Sprintf("deadline of %s exceeded", limit.Round(time.Millisecond))
		var cut *cutError
		if errors.As(err, &cut) && cut.n > 0 {
			nr.Why += fmt.Sprintf(" in the middle of the answer, after %d bytes", cut.n)
		}
		if total {
			nr.Why = fmt.Sprintf("the time limit of %s for the whole trace was over", s.opts.Timeout)
		} else if !s.hasReached() && q.Area == trace.AreaCluster {
			return fmt.Errorf("cluster of context %q: no answer from %s within %s", s.context, s.base.Host, limit)
		}
	case errors.As(err, &op) && q.Area == trace.AreaCluster && !s.hasReached():
		return fmt.Errorf("cluster of context %q: %w", s.context, unwrapURL(err))
	default:
		nr.Why = strings.Join(strings.Fields(unwrapURL(err).Error()), " ")
		if !s.hasReached() && q.Area == trace.AreaCluster && api == nil {
			return fmt.Errorf("cluster of context %q: %w", s.context, unwrapURL(err))
		}
	}
	return nr
}

func (s *Source) hasReached() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reached
}

func (s *Source) hasRead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read > 0
}

func unwrapURL(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}
