package process

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
)

// Ports are handed out below the range from which Linux takes the local ports of
// outgoing connections, so that none of these takes one before its program
// listens on it.
const (
	firstPort = 20000
	portCount = 12000
)

var nextPort atomic.Int64

func init() { nextPort.Store(rand.Int64N(portCount)) }

// FreeAddress returns an address of the loopback interface that nobody listens
// on, each time another.
func FreeAddress() (string, error) {
	for range portCount {
		port := firstPort + nextPort.Add(1)%portCount
		address := net.JoinHostPort("127.0.0.1", strconv.FormatInt(port, 10))
		listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
		if err != nil {
			continue
		}
		return address, listener.Close()
	}
	return "", errors.New("no free port")
}
