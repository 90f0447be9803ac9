package sms

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/roomline/roomline/internal/limits"
)

// link is a connection to a centre, bound.
//
// Why not the library's session: it writes a request before it notes that an answer is to come, takes a refused bind without a body for a closed
// connection, and a PDU that its parser panics on would end the whole process. Its PDUs are used.
type link struct {
	conn     net.Conn
	patience time.Duration // for an answer
	// request is asked what the centre sends by itself; it answers with respond.
	request func(l *link, p pdu.PDU)

	writing sync.Mutex
	mu      sync.Mutex
	pending map[int32]chan pdu.PDU
	err     error
	done    chan struct{}
}

var (
	// errNotWritten is that a request has not left as a whole, errNoAnswer that it may have arrived.
	errNotWritten = errors.New("the request was not sent")
	errNoAnswer   = errors.New("the centre has not answered")
	errBroken     = errors.New("the centre sent something that is no PDU")
)

// bindError is a refused bind.
type bindError struct{ status data.CommandStatusType }

func (e *bindError) Error() string {
	return fmt.Sprintf("the centre refuses to bind: %s", statusName(e.status))
}

// dial connects and binds. handle is told what the centre sends.
func dial(ctx context.Context, c *SMPP, binding pdu.BindingType, handle func(*link, pdu.PDU)) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	dialer := &net.Dialer{KeepAlive: 30 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", c.Address)
	if err != nil {
		return nil, err
	}
	if c.TLS != nil {
		secure := tls.Client(conn, c.TLS)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		conn = secure
	}
	l := &link{conn: conn, patience: c.Timeout, request: handle, pending: make(map[int32]chan pdu.PDU), done: make(chan struct{})}
	if err := l.bind(c, binding); err != nil {
		conn.Close()
		return nil, err
	}
	go l.read()
	return l, nil
}

func (l *link) bind(c *SMPP, binding pdu.BindingType) error {
	if err := l.conn.SetDeadline(time.Now().Add(l.patience)); err != nil {
		return err
	}
	request := pdu.NewBindRequest(binding)
	request.SystemID, request.Password, request.SystemType = c.SystemID, c.Password, c.SystemType
	if err := l.write(request); err != nil {
		return err
	}
	header, _, err := l.frame()
	if err != nil {
		return err
	}
	switch header.CommandID {
	case data.BIND_TRANSCEIVER_RESP, data.BIND_TRANSMITTER_RESP, data.BIND_RECEIVER_RESP, data.GENERIC_NACK:
	default:
		return errBroken
	}
	if header.CommandStatus != data.ESME_ROK || header.CommandID == data.GENERIC_NACK {
		return &bindError{header.CommandStatus}
	}
	return l.conn.SetDeadline(time.Time{})
}

// ended reports whether nothing goes over the connection any more.
func (l *link) ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// frame reads the bytes of a PDU.
func (l *link) frame() (pdu.Header, []byte, error) {
	var head [16]byte
	if _, err := io.ReadFull(l.conn, head[:4]); err != nil {
		return pdu.Header{}, nil, err
	}
	length := binary.BigEndian.Uint32(head[:4])
	if length < 16 || length > limits.SMPPBody {
		return pdu.Header{}, nil, errBroken
	}
	frame := make([]byte, length)
	copy(frame, head[:4])
	if _, err := io.ReadFull(l.conn, frame[4:]); err != nil {
		return pdu.Header{}, nil, err
	}
	copy(head[:], frame)
	return pdu.ParseHeader(head), frame, nil
}

// read reads until the connection ends.
func (l *link) read() {
	err := errBroken
	defer func() {
		// A PDU that the parser panics on is as good as a broken connection.
		_ = recover()
		l.fail(err)
	}()
	for {
		header, frame, ended := l.frame()
		if ended != nil {
			err = ended
			return
		}
		l.take(header, frame)
	}
}

// take does what a PDU asks for.
func (l *link) take(header pdu.Header, frame []byte) {
	p, err := pdu.Parse(bytes.NewReader(frame))
	switch {
	case err == nil && isResponse(header.CommandID):
		l.answered(p)
	case err == nil:
		l.request(l, p)
	case !isResponse(header.CommandID):
		nack := pdu.NewGenericNack().(*pdu.GenericNack)
		nack.SequenceNumber, nack.CommandStatus = header.SequenceNumber, data.ESME_RINVCMDID
		_ = l.write(nack)
	}
}

func isResponse(id data.CommandIDType) bool { return uint32(id)&0x80000000 != 0 }

// write writes a PDU. What fails to be written ends the connection; the centre can make nothing of a part of it.
func (l *link) write(p pdu.PDU) error {
	buffer := pdu.NewBuffer(nil)
	p.Marshal(buffer)
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.conn.SetWriteDeadline(time.Now().Add(l.patience)); err != nil {
		return fmt.Errorf("%w: %w", errNotWritten, err)
	}
	if _, err := l.conn.Write(buffer.Bytes()); err != nil {
		l.fail(err)
		return fmt.Errorf("%w: %w", errNotWritten, err)
	}
	return nil
}

// ask sends a request and waits for the answer.
func (l *link) ask(p pdu.PDU) (pdu.PDU, error) {
	answer := make(chan pdu.PDU, 1)
	number := p.GetSequenceNumber()
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return nil, fmt.Errorf("%w: %w", errNotWritten, l.err)
	}
	l.pending[number] = answer
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.pending, number)
		l.mu.Unlock()
	}()
	if err := l.write(p); err != nil {
		return nil, err
	}
	late := time.NewTimer(l.patience)
	defer late.Stop()
	select {
	case got := <-answer:
		return got, nil
	case <-late.C:
		return nil, errNoAnswer
	case <-l.done:
	}
	// The answer may have come with the end.
	select {
	case got := <-answer:
		return got, nil
	default:
		return nil, fmt.Errorf("%w: %w", errNoAnswer, l.err)
	}
}

func (l *link) answered(p pdu.PDU) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if answer := l.pending[p.GetSequenceNumber()]; answer != nil {
		delete(l.pending, p.GetSequenceNumber())
		answer <- p
	}
}

// fail ends the connection, with a reason.
func (l *link) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
		l.conn.Close()
		close(l.done)
	}
}

// enquire asks every so often whether the centre is there, until the connection ends.
func (l *link) enquire(every time.Duration) {
	for {
		select {
		case <-l.done:
			return
		case <-time.After(every):
		}
		if _, err := l.ask(pdu.NewEnquireLink()); err != nil {
			l.fail(err)
		}
	}
}

// unbind ends the connection as the centre expects it.
func (l *link) unbind() {
	_, _ = l.ask(pdu.NewUnbind())
	l.fail(net.ErrClosed)
}
