module codeq.example/stock

go 1.24
