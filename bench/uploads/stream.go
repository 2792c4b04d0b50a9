package uploads

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
)

// stream shows that the first byte of an upload is at the upstream before the client has
// sent the last.
func stream(ctx context.Context, b *setup.Bench) error {
	dir, err := b.Mkdir("stream")
	if err != nil {
		return err
	}
	u, err := newUpstream(4)
	if err != nil {
		return err
	}
	defer u.close()
	close(u.answer)
	store, err := setup.LocalStore(ctx, dir, []string{"acme"}, func(string) string { return document })
	if err != nil {
		return err
	}
	c, err := setup.StartCaddy(ctx, b, dir, setup.Sidecar{Options: store + "\n" + options, Site: "upstream_auth crm " + u.address})
	if err != nil {
		return err
	}
	defer c.Kill()
	fmt.Fprintf(b.Out, "\nThe client sends 16 KiB, and the rest when the upstream has seen the first byte:\n\n")
	for _, size := range []int64{1 << 20, 100 << 20} {
		for _, length := range []int64{size, -1} {
			took, err := u.streamed(ctx, "http://"+c.Address, size, length)
			if err != nil {
				return fmt.Errorf("streaming %d bytes: %w", size, err)
			}
			kind := "with Content-Length"
			if length < 0 {
				kind = "chunked"
			}
			fmt.Fprintf(b.Out, "- %d MiB, %s: there after %v\n", size>>20, kind, took.Round(10*time.Microsecond))
		}
	}
	return nil
}

// streamed makes one upload and returns when its first byte was there.
func (u *upstream) streamed(ctx context.Context, url string, size, length int64) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	there := make(chan struct{})
	u.first.Store(&there)
	body, send := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return 0, err
	}
	req.ContentLength = length
	req.Header.Set("X-Tenant-ID", "acme")
	begun := time.Now()
	var took time.Duration
	go func() {
		_, _ = send.Write(make([]byte, 16<<10))
		select {
		case <-there:
			took = time.Since(begun)
			_, _ = io.CopyN(send, zeros{}, size-16<<10)
			_ = send.Close()
		case <-ctx.Done():
			_ = send.CloseWithError(errors.New("the first byte did not come through before the last was sent"))
		}
	}()
	res, err := new(http.Transport).RoundTrip(req)
	if err != nil {
		return 0, err
	}
	_ = res.Body.Close()
	if n := <-u.bodies; n != size {
		return 0, fmt.Errorf("%d bytes came", n)
	}
	return took, nil
}

// zeros is a body without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
