package tokenrequest

import (
	"context"
	"crypto/tls"
	"net/http"
)

// Dialer brings up connections to token endpoints. [Client] is the real one;
// simulations have their own.
type Dialer interface {
	// Dial brings up a connection for one request: TCP, a proxy's CONNECT and TLS
	// included. Nothing of a request is sent. A nil config means the system's
	// certificate authorities and no client certificate. The error is an [*Error] with
	// Unspent and NoResponse.
	Dial(ctx context.Context, endpoint string, config *tls.Config) (Conn, error)
}

// Conn is a connection on which one request is sent, once.
type Conn interface {
	// Send sends req unless limits.Send has passed when its first byte is about to
	// leave, and waits for the answer until limits.Listen has passed. It may be called
	// once. That ctx ends changes nothing, since an answer that nobody waits for may
	// hold tokens all the same; Close ends it.
	//
	// The error is an [*Error]: Unspent if no byte of the request can have left,
	// NoResponse if the endpoint gave no complete header of an answer. A request that
	// was late or closed before it was sent has Unspent alone: the endpoint is not to
	// blame. What is cut off later is a [Response] that is Truncated.
	Send(ctx context.Context, req *http.Request, limits Limits) (*Response, error)

	// Close ends the connection; what was not sent never will be. It may be called
	// more than once, and concurrently with Send, which then returns.
	Close()
}

// Do sends req once on a connection of its own. The error is an [*Error].
func Do(ctx context.Context, d Dialer, req *http.Request, config *tls.Config, limits Limits) (*Response, error) {
	conn, err := d.Dial(ctx, req.URL.String(), config)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.Send(ctx, req, limits)
}
