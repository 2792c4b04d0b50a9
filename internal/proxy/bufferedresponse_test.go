package proxy

import (
	"bytes"
	"io"
	"net/http"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/upstreamauth/caddy-upstream-auth/internal/body/bodytest"
)

// upstreamBody is a response's body as net/http's transport makes one: it sets the
// trailers when it ends, on whatever goroutine reads it.
type upstreamBody struct {
	io.Reader
	res    *http.Response
	closed chan struct{}
}

func (b *upstreamBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.res.Trailer["X-Sum"] = []string{"1"}
	}
	return n, err
}

func (b *upstreamBody) Close() error {
	close(b.closed)
	return nil
}

func refusal(body []byte) (*http.Response, *upstreamBody) {
	res := answer(401)
	b := &upstreamBody{Reader: bytes.NewReader(body), res: res, closed: make(chan struct{})}
	res.Body, res.Trailer = b, http.Header{"X-Sum": nil}
	return res, b
}

func TestRestoredAnswerIsWhole(t *testing.T) {
	for _, size := range []int{0, 100, bufferedMax - 1, bufferedMax, bufferedMax + 1, 300_000} {
		body := bodytest.RandomBytes(size)
		first, closes := refusal(body)
		buffered := bufferResponse(first)
		<-buffered.read
		if size > bufferedMax && buffered.log.Held() != bufferedMax {
			t.Errorf("%d of %d bytes were read ahead", buffered.log.Held(), size)
		}
		res := buffered.restore()
		if !reflect.DeepEqual(res.Trailer, http.Header{"X-Sum": nil}) {
			t.Errorf("announced %v", res.Trailer)
		}
		bodytest.MustRead(t, res.Body, body)
		if !reflect.DeepEqual(res.Trailer, http.Header{"X-Sum": {"1"}}) {
			t.Errorf("trailers %v", res.Trailer)
		}
		if buffered.log.Held() > 0 {
			t.Error("what was read is kept")
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
		<-closes.closed
	}
}

func TestDiscardedAnswerIsReadToItsEndIfThatIsNear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, closes := refusal(nil)
		near := bodytest.NewGate()
		closes.Reader = near
		buffered := bufferResponse(first)
		go func() {
			near.Answers <- []byte("refused")
			near.Answers <- io.EOF
		}()
		buffered.discard()
		if len(near.Asked) != 2 {
			t.Errorf("%d reads", len(near.Asked))
		}
		<-closes.closed
	})
}
