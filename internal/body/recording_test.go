package body

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
)

var quiet = slog.New(slog.DiscardHandler)

func smallLimits(t testing.TB, maxBody, memory int64) Limits {
	return Limits{MaxBody: maxBody, Memory: memory, Dir: t.TempDir()}
}

func record(source io.Reader, length int64, limits Limits) *Recording {
	return New(source, new(http.Header), length, true, limits, quiet)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	random := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = random.Read(b)
	return b
}

// lostBecause returns why r is not whole, "" if it is.
func (r *Recording) lostBecause() SkipReason {
	r.mu.Lock()
	defer r.mu.Unlock()
	if (r.lost == "") != r.whole {
		panic("whole, and yet lost")
	}
	return r.lost
}

func mustRead(t testing.TB, r io.Reader, want []byte) {
	t.Helper()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("after %d bytes: %v", len(got), err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes that differ from the %d sent", len(got), len(want))
	}
}

func TestCursorsReadTheWholeBodyFromTheStart(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, 4097, 65535, 65536, 65537, 300_000} {
		for name, limits := range map[string]Limits{
			"memory and file":  smallLimits(t, 300_000, 64<<10),
			"file alone":       smallLimits(t, 300_000, 0),
			"memory alone":     {MaxBody: 300_000},
			"odd memory":       smallLimits(t, 300_000, 5001),
			"shared memory":    {MaxBody: 300_000, Memory: 5001, Shared: NewSharedMemory(1 << 20), Dir: "/dev/null/not"},
			"shared, and file": {MaxBody: 300_000, Memory: 5001, Shared: NewSharedMemory(64 << 10), Dir: t.TempDir()},
		} {
			for _, length := range []int64{-1, int64(size)} {
				t.Run(fmt.Sprintf("%d of %d in %s", size, length, name), func(t *testing.T) {
					body := randomBytes(size)
					r := record(bytes.NewReader(body), length, limits)
					defer r.Close()
					first, second := r.Open(nil, nil), r.Open(nil, nil)
					mustRead(t, first, body)
					mustRead(t, readerFunc(func(p []byte) (int, error) { return second.Read(p[:min(len(p), 101)]) }), body)
					mustRead(t, r.Restart(nil, nil), body)
					if !r.IsWhole() {
						t.Fatal("not whole")
					}
				})
			}
		}
	}
}

func TestTheEndComesWithTheLastBytes(t *testing.T) {
	// So that the transport can say with them that they are the last.
	for name, limits := range map[string]Limits{"memory": {MaxBody: 100}, "file": smallLimits(t, 100, 0)} {
		t.Run(name, func(t *testing.T) {
			body := strings.NewReader("body")
			r := record(readerFunc(func(p []byte) (int, error) { n, _ := body.Read(p); return n, io.EOF }), -1, limits)
			defer r.Close()
			for range 2 {
				p := make([]byte, 10)
				if n, err := r.Restart(nil, nil).Read(p); n != 4 || err != io.EOF {
					t.Fatal(n, err)
				}
			}
		})
	}
}

func TestLimitIsExact(t *testing.T) {
	const limit = 100_000
	for name, limits := range map[string]Limits{
		"file":   smallLimits(t, limit, 10_000),
		"memory": {MaxBody: limit},
	} {
		for _, test := range []struct {
			size, length int64
			replayable   bool
		}{
			{limit, limit, true}, {limit, -1, true},
			{limit + 1, limit + 1, false}, {limit + 1, -1, false},
			{3 * limit, -1, false}, {3 * limit, 3 * limit, false},
		} {
			t.Run(fmt.Sprintf("%d of %d in %s", test.size, test.length, name), func(t *testing.T) {
				body := randomBytes(int(test.size))
				r := record(bytes.NewReader(body), test.length, limits)
				defer r.Close()
				mustRead(t, r.Restart(nil, nil), body)
				ok, reason := r.IsWhole(), r.lostBecause()
				if ok != test.replayable {
					t.Fatalf("replayable %v", ok)
				}
				next := r.Restart(nil, nil)
				if ok {
					mustRead(t, next, body)
					return
				}
				if reason != TooLarge {
					t.Fatalf("reason %q", reason)
				}
				if n, err := next.Read(make([]byte, 10)); n != 0 || !errors.Is(err, ErrGone) {
					t.Fatalf("a second reader got %d bytes, %v", n, err)
				}
				if len(r.memory) > 0 || r.file != nil {
					t.Fatal("the recording was kept")
				}
			})
		}
	}
}

func TestBodyKnownToBeTooLongIsNeverRecorded(t *testing.T) {
	body := randomBytes(200_000)
	r := record(bytes.NewReader(body), int64(len(body)), smallLimits(t, 100_000, 10_000))
	defer r.Close()
	if reason := r.lostBecause(); reason != TooLarge {
		t.Fatalf("lost because %q", reason)
	}
	c := r.Restart(nil, nil)
	if _, err := io.ReadFull(c, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if len(r.memory) > 0 || r.file != nil {
		t.Fatal("it is recorded")
	}
	mustRead(t, c, body[10:])
}

func TestUnreadBodyAboveTheLimitCanStillBeSentElsewhere(t *testing.T) {
	body := randomBytes(200_000)
	r := record(bytes.NewReader(body), int64(len(body)), Limits{MaxBody: 10})
	defer r.Close()
	r.Restart(nil, nil).Close() // a dial that failed
	mustRead(t, r.Restart(nil, nil), body)
}

func TestWhatTheClientSendsIsHandedOutAtOnce(t *testing.T) {
	client, sender := io.Pipe()
	r := record(client, -1, smallLimits(t, 1<<20, 10))
	defer r.Close()
	c := r.Restart(nil, nil)
	buf := make([]byte, 100)
	for i := range 10 {
		part := fmt.Appendf(nil, "part %d", i)
		go sender.Write(part)
		n, err := c.Read(buf)
		if err != nil || !bytes.HasPrefix(part, buf[:n]) || n == 0 {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		if n < len(part) { // The memory tier ended within it.
			if _, err := io.ReadFull(c, buf[:len(part)-n]); err != nil {
				t.Fatal(err)
			}
		}
	}
	sender.Close()
}

// gate is a client whose reads are answered by the test.
type gate struct {
	asked   chan struct{}
	answers chan any // []byte or error
}

func newGate() *gate { return &gate{make(chan struct{}, 100), make(chan any)} }

func (g *gate) Read(p []byte) (int, error) {
	g.asked <- struct{}{}
	switch a := (<-g.answers).(type) {
	case []byte:
		return copy(p, a), nil
	case error:
		return 0, a
	}
	panic("no answer")
}

type readResult struct {
	data []byte
	err  error
}

func readAsync(r io.Reader) <-chan readResult {
	done := make(chan readResult, 1)
	go func() {
		p := make([]byte, 100)
		n, err := r.Read(p)
		done <- readResult{p[:n], err}
	}()
	return done
}

func TestStaleReadServesTheNextAttempt(t *testing.T) {
	for name, limits := range map[string]Limits{
		"in memory":            {MaxBody: 1 << 20},
		"in the file":          smallLimits(t, 1<<20, 0),
		"beyond the limit":     smallLimits(t, 4, 0),
		"where the file fails": {MaxBody: 1 << 20, Dir: filepath.Join(t.TempDir(), "missing")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newGate()
				r := record(client, -1, limits)
				first := r.Restart(nil, nil)
				stale := readAsync(first)
				synctest.Wait()
				second := r.Restart(nil, nil)
				next := readAsync(second)
				synctest.Wait()
				select {
				case got := <-next:
					t.Fatalf("the second attempt did not wait: %q, %v", got.data, got.err)
				default:
				}

				client.answers <- []byte("hello")
				if got := <-stale; len(got.data) > 0 || !errors.Is(got.err, http.ErrBodyReadAfterClose) {
					t.Fatalf("the stale reader got %q, %v", got.data, got.err)
				}
				if got := <-next; got.err != nil || string(got.data) != "hello" {
					t.Fatalf("the second attempt got %q, %v", got.data, got.err)
				}
				if reads := len(client.asked); reads != 1 {
					t.Fatalf("%d reads of the client", reads)
				}
				next = readAsync(second)
				client.answers <- io.EOF
				if got := <-next; got.err != io.EOF {
					t.Fatal(got.err)
				}
				r.Close()
			})
		})
	}
}

// TestRewoundBodyIsReadWhole has the read of the client that is under way find the
// body too long after the replay was decided on.
func TestRewoundBodyIsReadWhole(t *testing.T) {
	for name, limits := range map[string]Limits{"memory": {MaxBody: 4}, "file": smallLimits(t, 4, 1)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newGate()
				r := record(client, -1, limits)
				defer r.Close()
				first := r.Restart(nil, nil)
				for _, part := range []string{"a", "bcd"} {
					got := readAsync(first)
					client.answers <- []byte(part)
					if got := <-got; string(got.data) != part {
						t.Fatalf("%q, %v", got.data, got.err)
					}
				}
				stale := readAsync(first)
				synctest.Wait()
				if reason := r.Rewind(); reason != "" {
					t.Fatal(reason)
				}
				client.answers <- []byte("efgh")
				<-stale
				if r.IsWhole() {
					t.Fatal("it is not too long")
				}
				second := r.Restart(nil, nil)
				got := make([]byte, 8)
				if _, err := io.ReadFull(second, got); err != nil || string(got) != "abcdefgh" {
					t.Fatalf("%q, %v", got, err)
				}
			})
		})
	}
}

func TestBodyThatCannotBeRewoundStreamsOn(t *testing.T) {
	body := randomBytes(100_000)
	r := record(bytes.NewReader(body), -1, Limits{MaxBody: 10})
	defer r.Close()
	c := r.Restart(nil, nil)
	if _, err := io.ReadFull(c, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if reason := r.Rewind(); reason != TooLarge {
		t.Fatalf("%q", reason)
	}
	mustRead(t, c, body[100:])
}

func TestCloseReturnsAtOnceAndWakesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newGate()
		r := record(client, -1, Limits{MaxBody: 100})
		first, second := r.Open(nil, nil), r.Open(nil, nil)
		reading := readAsync(first)
		synctest.Wait()
		waiting := readAsync(second)
		synctest.Wait()

		if err := second.Close(); err != nil {
			t.Fatal(err)
		}
		if got := <-waiting; !errors.Is(got.err, http.ErrBodyReadAfterClose) {
			t.Fatal(got.err)
		}
		if err := first.Close(); err != nil { // While it reads the client.
			t.Fatal(err)
		}
		third := readAsync(r.Open(nil, nil))
		synctest.Wait()
		r.Close()
		if got := <-third; !errors.Is(got.err, http.ErrBodyReadAfterClose) {
			t.Fatal(got.err)
		}
		client.answers <- []byte("late")
		if got := <-reading; len(got.data) > 0 || !errors.Is(got.err, http.ErrBodyReadAfterClose) {
			t.Fatalf("%q, %v", got.data, got.err)
		}
		if n := len(client.asked); n != 1 {
			t.Fatalf("%d reads of the client", n)
		}
		if _, err := r.Open(nil, nil).Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Fatal(err)
		}
	})
}

func TestClientsErrorIsKeptAsItCame(t *testing.T) {
	limited := http.MaxBytesReader(nil, io.NopCloser(strings.NewReader("0123456789")), 5)
	r := record(limited, -1, Limits{MaxBody: 100})
	defer r.Close()
	for range 2 {
		got, err := io.ReadAll(r.Restart(nil, nil))
		tooLarge, ok := err.(*http.MaxBytesError)
		if !ok || tooLarge.Limit != 5 || string(got) != "01234" {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

func TestImpossibleReadCountIsAnError(t *testing.T) {
	for _, n := range []int{-1, 1 << 20} {
		r := record(readerFunc(func([]byte) (int, error) { return n, nil }), -1, Limits{MaxBody: 100})
		if _, err := r.Restart(nil, nil).Read(make([]byte, 10)); !errors.Is(err, errBadRead) {
			t.Fatal(err)
		}
		r.Close()
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestStopFreesWhatWasReadAndStreamsOn(t *testing.T) {
	body := randomBytes(500_000)
	for name, limits := range map[string]Limits{
		"memory": {MaxBody: 1 << 20}, "file": smallLimits(t, 1<<20, 50_000),
	} {
		t.Run(name, func(t *testing.T) {
			r := record(bytes.NewReader(body), -1, limits)
			defer r.Close()
			if _, err := io.CopyN(io.Discard, r.Restart(nil, nil), 200_000); err != nil {
				t.Fatal(err)
			}
			// A second attempt that lags behind keeps what it has still to read.
			c := r.Restart(nil, nil)
			if _, err := io.ReadFull(c, make([]byte, 100_000)); err != nil {
				t.Fatal(err)
			}
			r.Stop()
			if reason := r.lostBecause(); reason != NotRecorded {
				t.Fatalf("lost because %q", reason)
			}
			if len(r.memory) > 0 && r.memory[0].end() <= 100_000 {
				t.Fatal("what was read is kept")
			}
			late := r.Open(nil, nil)
			if _, err := late.Read(make([]byte, 1)); !errors.Is(err, ErrGone) {
				t.Fatal(err)
			}
			late.Close()
			mustRead(t, c, body[100_000:])
			if len(r.memory) > 0 || r.file != nil {
				t.Fatal("the recording is kept")
			}
		})
	}
}

func TestFileHasNoNameAndIsPrivate(t *testing.T) {
	dir := t.TempDir()
	r := record(bytes.NewReader(randomBytes(100_000)), -1, Limits{MaxBody: 1 << 20, Memory: 10, Dir: dir})
	if _, err := io.Copy(io.Discard, r.Restart(nil, nil)); err != nil {
		t.Fatal(err)
	}
	info, err := r.file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != 100_000-10 || info.Mode().Perm() != 0o600 {
		t.Fatalf("%d bytes, %v", info.Size(), info.Mode())
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Fatal(names, err)
	}
	file := r.file
	r.Close()
	if _, err := file.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Fatal("the file is still open")
	}
}

func TestFailingFileStopsTheRecordingNotTheStream(t *testing.T) {
	body := randomBytes(300_000)
	for name, breakIt := range map[string]func(r *Recording){
		"no directory":  func(r *Recording) { r.limits.Dir = os.DevNull },
		"write refused": func(r *Recording) { r.file, _ = os.Open(os.DevNull) },
	} {
		t.Run(name, func(t *testing.T) {
			var logged bytes.Buffer
			r := New(bytes.NewReader(body), new(http.Header), -1, true, smallLimits(t, 1<<20, 50_000), slog.New(slog.NewTextHandler(&logged, nil)))
			defer r.Close()
			c := r.Restart(nil, nil)
			breakIt(r)
			mustRead(t, c, body)
			if reason := r.lostBecause(); reason != Failed {
				t.Fatalf("lost because %q", reason)
			}
			if _, err := r.Restart(nil, nil).Read(make([]byte, 1)); !errors.Is(err, ErrGone) {
				t.Fatal(err)
			}
			if n := strings.Count(logged.String(), "\n"); n != 1 {
				t.Fatalf("%d lines logged: %s", n, &logged)
			}
		})
	}
}

func TestUnreadableFileIsAnErrorNotAnEnd(t *testing.T) {
	body := randomBytes(100_000)
	r := record(bytes.NewReader(body), -1, smallLimits(t, 1<<20, 50_000))
	defer r.Close()
	mustRead(t, r.Restart(nil, nil), body)
	if err := r.file.Truncate(10); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r.Restart(nil, nil))
	if err == nil {
		t.Fatalf("%d bytes were taken for the whole", len(got))
	}
}

func TestTrailersAreFilledBeforeTheEndIsReported(t *testing.T) {
	announced := http.Header{"X-Sum": nil}
	client := &trailerBody{Reader: strings.NewReader("body"), trailer: announced, values: http.Header{"X-Sum": {"1"}, "X-Api-Key": {"stolen"}}}
	r := New(client, &announced, -1, true, Limits{MaxBody: 100}, quiet)
	defer r.Close()
	for range 2 {
		own := http.Header{"X-Sum": nil}
		c := r.Restart(own, func(h http.Header) { h.Del("X-Api-Key") })
		mustRead(t, c, []byte("body"))
		if len(own) != 1 || own.Get("X-Sum") != "1" {
			t.Fatalf("%v", own)
		}
		clear(own) // The transport's now.
		if _, err := c.Read(make([]byte, 1)); err != io.EOF || len(own) > 0 {
			t.Fatalf("%v, %v", own, err)
		}
	}
}

// trailerBody fills its trailer in the Read that ends it, as Caddy's does.
type trailerBody struct {
	io.Reader
	trailer, values http.Header
}

func (b *trailerBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		clear(b.trailer)
		for k, v := range b.values {
			b.trailer[k] = v
		}
	}
	return n, err
}
