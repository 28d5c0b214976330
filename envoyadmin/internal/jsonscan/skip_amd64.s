#include "textflag.h"

// The block algorithm is the one of simdjson's first stage (Langdale, Lemire,
// "Parsing Gigabytes of JSON per Second", 2019): bit masks of quotes and
// backslashes give the bytes inside strings, a carry-less product with all ones
// spreads them; what is left of the brackets is counted.

DATA quote<>+0(SB)/8, $0x2222222222222222
DATA quote<>+8(SB)/8, $0x2222222222222222
DATA quote<>+16(SB)/8, $0x2222222222222222
DATA quote<>+24(SB)/8, $0x2222222222222222
GLOBL quote<>(SB), RODATA|NOPTR, $32

DATA backslash<>+0(SB)/8, $0x5c5c5c5c5c5c5c5c
DATA backslash<>+8(SB)/8, $0x5c5c5c5c5c5c5c5c
DATA backslash<>+16(SB)/8, $0x5c5c5c5c5c5c5c5c
DATA backslash<>+24(SB)/8, $0x5c5c5c5c5c5c5c5c
GLOBL backslash<>(SB), RODATA|NOPTR, $32

DATA bit5<>+0(SB)/8, $0x2020202020202020
DATA bit5<>+8(SB)/8, $0x2020202020202020
DATA bit5<>+16(SB)/8, $0x2020202020202020
DATA bit5<>+24(SB)/8, $0x2020202020202020
GLOBL bit5<>(SB), RODATA|NOPTR, $32

DATA opening<>+0(SB)/8, $0x7b7b7b7b7b7b7b7b
DATA opening<>+8(SB)/8, $0x7b7b7b7b7b7b7b7b
DATA opening<>+16(SB)/8, $0x7b7b7b7b7b7b7b7b
DATA opening<>+24(SB)/8, $0x7b7b7b7b7b7b7b7b
GLOBL opening<>(SB), RODATA|NOPTR, $32

DATA closing<>+0(SB)/8, $0x7d7d7d7d7d7d7d7d
DATA closing<>+8(SB)/8, $0x7d7d7d7d7d7d7d7d
DATA closing<>+16(SB)/8, $0x7d7d7d7d7d7d7d7d
DATA closing<>+24(SB)/8, $0x7d7d7d7d7d7d7d7d
GLOBL closing<>(SB), RODATA|NOPTR, $32

// func skipBlocks(s *skipper, p *byte, n int) int
TEXT ·skipBlocks(SB), NOSPLIT, $0-32
	MOVQ s+0(FP), DI
	MOVQ p+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ 0(DI), R8        // depth
	MOVQ 8(DI), R9        // inString
	MOVQ 16(DI), R10      // escaped
	XORQ AX, AX           // blocks done
	VMOVDQU quote<>(SB), Y4
	VMOVDQU backslash<>(SB), Y5
	VMOVDQU bit5<>(SB), Y6
	VMOVDQU opening<>(SB), Y7
	VMOVDQU closing<>(SB), Y8
	VPCMPEQB X9, X9, X9   // all ones

loop:
	VMOVDQU (SI), Y0
	VMOVDQU 32(SI), Y1

	VPCMPEQB Y5, Y0, Y2
	VPCMPEQB Y5, Y1, Y3
	VPMOVMSKB Y2, R11
	VPMOVMSKB Y3, R12
	SHLQ $32, R12
	ORQ R12, R11          // backslashes

	VPCMPEQB Y4, Y0, Y2
	VPCMPEQB Y4, Y1, Y3
	VPMOVMSKB Y2, R13
	VPMOVMSKB Y3, R12
	SHLQ $32, R12
	ORQ R12, R13          // quotes

	MOVQ R10, DX          // escaped bytes if there is no backslash
	XORQ BX, BX           // escaped of the next block
	TESTQ R11, R11
	JZ unescaped

	// backslash &= ~escaped; follows = backslash<<1 | escaped
	MOVQ R10, R12
	NOTQ R12
	ANDQ R12, R11
	MOVQ R11, R15
	SHLQ $1, R15
	ORQ R10, R15          // follows an escape
	// starts = backslash & odd & ~follows
	MOVQ $0xaaaaaaaaaaaaaaaa, R12
	ANDQ R11, R12
	MOVQ R15, DX
	NOTQ DX
	ANDQ DX, R12
	ADDQ R11, R12         // runs that start on an odd bit; the carry leaves the block
	SETCS BX
	SHLQ $1, R12
	MOVQ $0x5555555555555555, DX
	XORQ R12, DX
	ANDQ R15, DX          // escaped bytes

unescaped:
	NOTQ DX
	ANDQ DX, R13          // quotes that count
	VMOVQ R13, X2
	VPCLMULQDQ $0, X9, X2, X2
	VMOVQ X2, R13
	XORQ R9, R13          // bytes inside strings
	MOVQ R13, R15
	NOTQ R15              // bytes outside

	VPOR Y6, Y0, Y0
	VPOR Y6, Y1, Y1
	VPCMPEQB Y8, Y0, Y2
	VPCMPEQB Y8, Y1, Y3
	VPMOVMSKB Y2, R11
	VPMOVMSKB Y3, R12
	SHLQ $32, R12
	ORQ R12, R11
	ANDQ R15, R11         // closing

	VPCMPEQB Y7, Y0, Y2
	VPCMPEQB Y7, Y1, Y3
	VPMOVMSKB Y2, DX
	VPMOVMSKB Y3, R12
	SHLQ $32, R12
	ORQ R12, DX
	ANDQ R15, DX          // opening

	MOVQ R13, R9          // the state after this block
	SARQ $63, R9
	MOVQ BX, R10

	POPCNTQ R11, R12
	CMPQ R12, R8
	JGE stop              // depth may become zero here

	POPCNTQ DX, R15
	ADDQ R15, R8
	SUBQ R12, R8
	ADDQ $64, SI
	INCQ AX
	CMPQ AX, CX
	JLT loop
	JMP done

stop:
	MOVQ DX, 24(DI)
	MOVQ R11, 32(DI)

done:
	VZEROUPPER
	MOVQ R8, 0(DI)
	MOVQ R9, 8(DI)
	MOVQ R10, 16(DI)
	MOVQ AX, ret+24(FP)
	RET
