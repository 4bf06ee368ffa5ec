// A stock grpc-go client on a node, made of nothing but what its reflection tells: health, a producer and a worker,
// and what goes wrong on purpose.
//
// Usage: stock <host:port> <ca.pem> <producer token file> <worker token file>
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

const (
	tasks   = 500
	streams = 20
	timeout = 30 * time.Second
)

type object = map[string]any

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func expect(err error, code codes.Code) {
	if status.Code(err) != code {
		panic(fmt.Sprintf("wanted %v, got %v", code, err))
	}
}

// node is a connection and what its reflection says.
type node struct {
	conn  *grpc.ClientConn
	files *protoregistry.Files
}

func dial(target, ca string) *node {
	transport, err := credentials.NewClientTLSFromFile(ca, "")
	check(err)
	alive := keepalive.ClientParameters{Time: 10 * time.Second, PermitWithoutStream: true}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(transport), grpc.WithKeepaliveParams(alive))
	check(err)
	return &node{conn: conn}
}

// learn fetches the files of all services, with what they import.
func (n *node) learn(ctx context.Context) []string {
	stream, err := reflectionpb.NewServerReflectionClient(n.conn).ServerReflectionInfo(ctx)
	check(err)
	ask := func(request *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
		check(stream.Send(request))
		answer, err := stream.Recv()
		check(err)
		return answer
	}
	var names []string
	found := map[string]*descriptorpb.FileDescriptorProto{}
	list := &reflectionpb.ServerReflectionRequest_ListServices{}
	for _, each := range ask(&reflectionpb.ServerReflectionRequest{MessageRequest: list}).GetListServicesResponse().Service {
		names = append(names, each.Name)
		symbol := &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: each.Name}
		answer := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: symbol}).GetFileDescriptorResponse()
		for _, raw := range answer.FileDescriptorProto {
			file := &descriptorpb.FileDescriptorProto{}
			check(proto.Unmarshal(raw, file))
			found[file.GetName()] = file
		}
	}
	for again := true; again; {
		again = false
		for _, file := range found {
			for _, name := range file.Dependency {
				if found[name] == nil {
					byName := &reflectionpb.ServerReflectionRequest_FileByFilename{FileByFilename: name}
					answer := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: byName}).GetFileDescriptorResponse()
					more := &descriptorpb.FileDescriptorProto{}
					check(proto.Unmarshal(answer.FileDescriptorProto[0], more))
					found[name] = more
					again = true
				}
			}
		}
	}
	check(stream.CloseSend())
	set := &descriptorpb.FileDescriptorSet{}
	for _, file := range found {
		set.File = append(set.File, file)
	}
	n.files, err = protodesc.NewFiles(set)
	check(err)
	return names
}

// stream is one call of a service's only method; events are JSON objects with the names of the .proto files.
type stream struct {
	grpc.ClientStream
	method protoreflect.MethodDescriptor
}

func (n *node) open(ctx context.Context, service string, options ...grpc.CallOption) *stream {
	found, err := n.files.FindDescriptorByName(protoreflect.FullName(service))
	check(err)
	method := found.(protoreflect.ServiceDescriptor).Methods().ByName("Stream")
	both := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	call, err := n.conn.NewStream(ctx, both, "/"+service+"/Stream", options...)
	check(err)
	return &stream{call, method}
}

func (s *stream) send(event object) {
	text, err := json.Marshal(event)
	check(err)
	message := dynamicpb.NewMessage(s.method.Input())
	check(protojson.Unmarshal(text, message))
	// A stream that the server has ended says so on receiving.
	_ = s.SendMsg(message)
}

func (s *stream) receive() (object, error) {
	message := dynamicpb.NewMessage(s.method.Output())
	if err := s.RecvMsg(message); err != nil {
		return nil, err
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	check(err)
	event := object{}
	check(json.Unmarshal(text, &event))
	return event, nil
}

func (s *stream) must() object {
	event, err := s.receive()
	check(err)
	return event
}

func (s *stream) finish() {
	check(s.CloseSend())
	if _, err := s.receive(); err == nil || err.Error() != "EOF" {
		panic(fmt.Sprintf("the stream did not end well: %v", err))
	}
}

// items gives the objects of a field that is single or a batch.
func items(event object, single, batch, list string) []object {
	if one, ok := event[single].(object); ok {
		return []object{one}
	}
	many, ok := event[batch].(object)
	if !ok {
		return nil
	}
	var found []object
	for _, each := range many[list].([]any) {
		found = append(found, each.(object))
	}
	return found
}

func create(seq int, command string) object {
	payload, err := json.Marshal([]byte(fmt.Sprintf(`{"seq":%d}`, seq)))
	check(err)
	return object{"seq": seq, "command": command, "payload": json.RawMessage(payload)}
}

func (n *node) produce(ctx context.Context, token, command string, options ...grpc.CallOption) map[string]bool {
	s := n.open(ctx, "producerpb.ProducerStream", options...)
	s.send(object{"hello": object{"token": token}})
	if s.must()["hello_ack"] == nil {
		panic("no hello_ack")
	}
	go func() {
		for seq := 1; seq <= tasks; seq++ {
			s.send(object{"create": create(seq, command)})
		}
		var batch []object
		for seq := tasks + 1; seq <= 2*tasks; seq++ {
			batch = append(batch, create(seq, command))
		}
		s.send(object{"create_batch": object{"tasks": batch}})
	}()
	ids := map[string]bool{}
	for len(ids) < 2*tasks {
		for _, ack := range items(s.must(), "create_ack", "create_ack_batch", "acks") {
			if ack["ok"] != true {
				panic(fmt.Sprint(ack))
			}
			ids[ack["task_id"].(string)] = true
		}
	}
	s.finish()
	return ids
}

func (n *node) work(ctx context.Context, token, command string, ids map[string]bool) {
	s := n.open(ctx, "workerpb.WorkerStream")
	s.send(object{"hello": object{"token": token, "worker_id": "stock-go"}})
	s.must()
	ready := func(count int) {
		s.send(object{"ready": object{"commands": []string{command}, "count": count, "lease_seconds": 60}})
	}
	for range 4 {
		ready(1)
		ready(16)
	}
	for done := 0; done < 2*tasks; {
		event := s.must()
		delivered := items(event, "task", "task_batch", "tasks")
		if len(delivered) == 0 {
			for _, ack := range items(event, "result_ack", "result_ack_batch", "acks") {
				if ack["ok"] != true {
					panic(fmt.Sprint(ack))
				}
				done++
			}
			continue
		}
		var results []object
		for _, task := range delivered {
			if inner, ok := task["task"].(object); ok {
				task = inner
			}
			id := task["id"].(string)
			if !ids[id] {
				panic("delivered twice, or never created: " + id)
			}
			delete(ids, id)
			results = append(results, object{"task_id": id, "status": "COMPLETED", "result_json": "e30="})
		}
		if event["task"] != nil {
			s.send(object{"result": results[0]})
			ready(1)
		} else {
			s.send(object{"result_batch": object{"results": results}})
			ready(16)
		}
	}
	s.finish()
}

func (n *node) health(ctx context.Context) {
	client := healthpb.NewHealthClient(n.conn)
	answer, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "producerpb.ProducerStream"})
	check(err)
	if answer.Status != healthpb.HealthCheckResponse_SERVING {
		panic(answer.String())
	}
	_, err = client.Check(ctx, &healthpb.HealthCheckRequest{Service: "nobody"})
	expect(err, codes.NotFound)
}

func (n *node) refusals(ctx context.Context, token string) {
	s := n.open(ctx, "producerpb.ProducerStream")
	s.send(object{"hello": object{"token": "nonsense"}})
	_, err := s.receive()
	expect(err, codes.Unauthenticated)

	s = n.open(ctx, "producerpb.ProducerStream")
	s.send(object{"create": object{"command": "x"}})
	_, err = s.receive()
	expect(err, codes.FailedPrecondition)

	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, err = n.open(short, "workerpb.WorkerStream").receive()
	expect(err, codes.DeadlineExceeded)

	for range 30 {
		brief, cancel := context.WithCancel(ctx)
		s = n.open(brief, "producerpb.ProducerStream")
		s.send(object{"hello": object{"token": token}})
		s.must()
		cancel()
		_, err = s.receive()
		expect(err, codes.Canceled)
	}
}

func read(file string) string {
	content, err := os.ReadFile(file)
	check(err)
	return strings.TrimSpace(string(content))
}

func main() {
	target, ca, producer, worker := os.Args[1], os.Args[2], read(os.Args[3]), read(os.Args[4])
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	n := dial(target, ca)
	defer n.conn.Close()
	names := n.learn(ctx)
	n.health(ctx)
	n.work(ctx, worker, "stock-go", n.produce(ctx, producer, "stock-go"))
	n.produce(ctx, producer, "stock-go-gzip", grpc.UseCompressor(gzip.Name))
	n.refusals(ctx, producer)
	var all sync.WaitGroup
	for number := range streams {
		all.Go(func() { n.produce(ctx, producer, fmt.Sprintf("stock-go-%d", number)) })
	}
	all.Wait()
	fmt.Printf("grpc-go: %d services, %d tasks through their lives, %d created on %d streams at once\n",
		len(names), 2*tasks, 2*tasks*streams, streams)
}
