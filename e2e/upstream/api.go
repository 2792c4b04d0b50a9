// Package upstream is an API for tests that accepts only current access tokens and
// API keys, and remembers what reached it.
//
// Its paths behave differently, where not said otherwise only after they have
// authenticated the request; see [API.ServeHTTP].
package upstream

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// RequestID is the header that names a client's request. All attempts to
// deliver one request carry the same.
const RequestID = "X-Request-Id"

// API is the upstream. Its zero value accepts nothing.
type API struct {
	// Subject tells whose access token this is, if it is current.
	Subject func(access string) (tenant string, current bool)

	// Owner, if not nil, tells whose API key this is, if it is current, of a request
	// with the header X-Api-Key instead of a token.
	Owner func(key string) (tenant string, current bool)

	mu       sync.Mutex
	attempts []*Attempt
	byID     map[string][]*Attempt
	released map[string]bool
	probes   []Probe
	changed  chan struct{} // closed and replaced at every change
}

// ServeHTTP implements [http.Handler]. A request without a current token is
// answered 401 once its body is read. The paths are:
//
//	/echo          200 with the digest of the body; so does any other path
//	/health        200 to anybody; noted as a [Probe]
//	/bytes/N       200 with N bytes
//	/chunked       its 401 and its 200 come in chunks, flushed one by one
//	/hints         103 with a Link header, then as /echo
//	/trailers      200 with the trailer X-Length after the body
//	/events        server-sent events: "one"; after [API.Release] "two"
//	/hold          as /echo, but answers after [API.Release]
//	/early         its 401 comes before the body is read, and ends only after
//	               another attempt of the same request did
//	/always-401    401 whatever the token; the body numbers the attempt
//	/scope         401 with the challenge insufficient_scope whatever the token
//	/socket        a websocket that echoes
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/health" {
		a.probed(r)
		return
	}
	attempt := a.begin(r)
	defer a.end(attempt)

	if !attempt.Accepted || r.URL.Path == "/always-401" {
		a.reject(w, r, attempt)
		return
	}
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/bytes/"):
		sendBytes(w, strings.TrimPrefix(path, "/bytes/"))
	case path == "/chunked":
		a.read(attempt, r.Body)
		sendChunks(w, http.StatusOK)
	case path == "/hints":
		sendHints(w)
		a.echo(w, r, attempt)
	case path == "/trailers":
		a.read(attempt, r.Body)
		a.noteTrailer(attempt, r.Trailer)
		sendTrailer(w, attempt)
	case path == "/events":
		a.sendEvents(w, r)
	case path == "/hold":
		a.read(attempt, r.Body)
		a.awaitRelease(r)
		a.echo(w, r, attempt)
	case path == "/scope":
		a.read(attempt, r.Body)
		challenge(w, "insufficient_scope", "needs another scope")
	case path == "/socket":
		socket.ServeHTTP(w, r)
	default:
		a.echo(w, r, attempt)
	}
}

// Echo is what /echo answers.
type Echo struct {
	Tenant string
	Digest
}

func (a *API) echo(w http.ResponseWriter, r *http.Request, attempt *Attempt) {
	a.read(attempt, r.Body)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Echo{Tenant: attempt.Tenant, Digest: attempt.Digest})
}

// reject answers 401 in the manner of the path.
func (a *API) reject(w http.ResponseWriter, r *http.Request, attempt *Attempt) {
	switch r.URL.Path {
	case "/early":
		a.rejectEarly(w, r, attempt)
		return
	case "/hints":
		sendHints(w)
	case "/socket":
		// The bytes after the request belong to no message.
		challenge(w, "invalid_token", "not current")
		return
	}
	a.read(attempt, r.Body)
	a.noteTrailer(attempt, r.Trailer)
	switch r.URL.Path {
	case "/chunked":
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		sendChunks(w, http.StatusUnauthorized)
	default:
		challenge(w, "invalid_token", "attempt "+strconv.Itoa(attempt.Number))
	}
}

// challenge answers 401 as RFC 6750 section 3 says.
func challenge(w http.ResponseWriter, code, text string) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="api", error="`+code+`"`)
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = io.WriteString(w, text)
}

// rejectEarly answers 401 while the upload still runs. Without full duplex Go
// would read the body before it sends the answer, and prove nothing.
func (a *API) rejectEarly(w http.ResponseWriter, r *http.Request, attempt *Attempt) {
	control := http.NewResponseController(w)
	if err := control.EnableFullDuplex(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	challenge(w, "invalid_token", "before the body")
	_ = control.Flush()
	a.await(r.Context(), func() bool {
		for _, other := range a.byID[attempt.ID] {
			if other != attempt && other.Done {
				return true
			}
		}
		return false
	})
	// Over HTTP/1.1, read on: closing the connection over unread bytes resets it,
	// which can take the answer back. An HTTP/2 client stops sending by itself,
	// and ends its stream only when ours has ended.
	if r.ProtoMajor == 1 {
		a.read(attempt, r.Body)
	}
}
